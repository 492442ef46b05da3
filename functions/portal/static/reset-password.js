import { post } from "./api.js";
import { find, fragmentToken, onSubmit, step } from "./page.js";
import { ask } from "./factor.js";

const kept = "aiaas.reset";
const token = fragmentToken(kept);
if (!token) step("broken");

function done() {
  sessionStorage.removeItem(kept);
  step("done");
}

onSubmit(find("#reset"), async ({ password }) => {
  const answer = await post("/v1/password/reset", { token, password }).catch((error) => {
    if (error.status === 401) sessionStorage.removeItem(kept); // used, or too old: it is of no more use
    throw error;
  });
  if (answer.status !== "second_factor_required") return done();
  const { challenge, methods } = answer;
  step("factor");
  ask(find("[data-factor]"), methods, {
    options: () => post("/v1/password/reset/options", { challenge }),
    send: async (proof) => {
      await post("/v1/password/reset/second-factor", { challenge, ...proof });
      done();
    },
  });
});
