import { post } from "./api.js";
import { fill, find, onSubmit, step } from "./page.js";

const email = find("#email");
email.value ||= sessionStorage.getItem("aiaas.email") || "";

onSubmit(find("#forgot"), async (values) => {
  await post("/v1/password/forgot", { email: values.email.trim() });
  fill("sent-to", values.email.trim());
  step("sent");
});

find("#again").addEventListener("click", () => step("ask"));
