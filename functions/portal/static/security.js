// Passwords, authenticator apps, recovery codes and passkeys.

import { get, post, send } from "./api.js";
import { all, copy, find, main, make, onClick, onSubmit, open, say } from "./page.js";
import { sure } from "./sure.js";
import { date, device, when } from "./words.js";
import { sessions } from "./sessions.js";
import * as webauthn from "./webauthn.js";

const passwordDialog = find("#password-dialog");
const totpDialog = find("#totp-dialog");
const codesDialog = find("#codes-dialog");
const nameDialog = find("#name-dialog");

let has = { totp: null, passkeys: [] };

// security shows what the person has to sign in by.
export async function security() {
  has = await get("/v1/me/factors");
  const badge = find("[data-totp-badge]");
  badge.hidden = !has.totp;
  badge.textContent = "On";
  find("[data-totp-state]").textContent = has.totp
    ? `Since ${date(has.totp.confirmed_at)}. A code that changes every 30 seconds, besides your password.`
    : "A code that changes every 30 seconds, besides your password.";
  const button = find("#totp-button");
  button.textContent = has.totp ? "Turn off" : "Set up";
  button.classList.toggle("danger", Boolean(has.totp));
  const left = has.recovery_codes.left;
  const any = Boolean(has.totp) || has.passkeys.length > 0;
  find("#recovery").hidden = !any;
  find("[data-recovery-state]").textContent = left === 1 ? "One is left." : `${left} are left. For the day on which your phone is lost.`;
  find("#must-enrol").hidden = any || has.required_by.length === 0;
  find("#passkeys").replaceChildren(...has.passkeys.map(row));
}

function row(passkey) {
  const used = passkey.last_used_at ? `used ${when(passkey.last_used_at)}` : "not used yet";
  const rename = make("button", { type: "button", "aria-label": `Rename ${passkey.name}` }, "Rename");
  const remove = make("button", { type: "button", class: "danger", "aria-label": `Remove ${passkey.name}` }, "Remove");
  onClick(rename, main, () => name({ title: "Rename passkey", now: passkey.name, button: "Rename" }, async (text) => {
    await send("PATCH", `/v1/me/passkeys/${passkey.id}`, { name: text });
    say("Renamed");
  }));
  onClick(remove, main, () => sure({ title: `Remove “${passkey.name}”?`, text: "You can’t sign in with it any more. Delete it on your device as well.", button: "Remove" }, async () => {
    await send("DELETE", `/v1/me/passkeys/${passkey.id}`);
    await security();
    say("Passkey removed");
  }));
  const icon = find("#passkey-icon").content.cloneNode(true);
  return make("li", {}, icon, make("span", { class: "what" }, make("b", {}, passkey.name), make("small", {}, `Added ${date(passkey.created_at)}, ${used}`)), rename, remove);
}

// name asks for a name and does something with it; the dialog stays until that went well.
function name({ title, now, button }, work) {
  find("#name-title").textContent = title;
  find("#name-do").textContent = button;
  naming = async (text) => {
    await work(text);
    nameDialog.close();
    await Promise.all([security(), sessions()]);
  };
  open(nameDialog);
  find("#passkey-name").value = now;
  find("#passkey-name").select();
}

let naming = null;
onSubmit(find("#name-form"), (values) => naming(values.name.trim()));

function addPasskey() {
  name({ title: "Add a passkey", now: device(navigator.userAgent), button: "Continue" }, async (text) => {
    const { ceremony, options } = await post("/v1/me/passkeys/options");
    const credential = await webauthn.create(options);
    const { recovery_codes: codes } = await post("/v1/me/passkeys", { ceremony, name: text, credential });
    nameDialog.close();
    if (codes?.length) keep(codes);
    say("Passkey added");
  });
}

async function startTOTP() {
  const { secret, qr_png: png } = await post("/v1/me/totp");
  find("#totp-qr").src = `data:image/png;base64,${png}`;
  find("#totp-secret").textContent = secret.replaceAll(/(.{4})(?=.)/g, "$1 ");
  open(totpDialog).then(() => {
    find("#totp-qr").removeAttribute("src");
    find("#totp-secret").textContent = "";
  });
  find("#totp-code").focus();
}

onSubmit(find("#totp-form"), async (values) => {
  const { recovery_codes: codes } = await post("/v1/me/totp/confirm", { code: values.code.replaceAll(" ", "") });
  totpDialog.close();
  if (codes?.length) keep(codes);
  await Promise.all([security(), sessions()]);
  say("Your authenticator app is set up");
});

function stopTOTP() {
  sure({ title: "Turn off the authenticator app?", text: "Your password alone signs you in then, unless you have a passkey.", button: "Turn off" }, async () => {
    await send("DELETE", "/v1/me/totp");
    await security();
    say("Turned off");
  });
}

// keep shows recovery codes until the person says that they are kept.
function keep(codes) {
  find("#codes").replaceChildren(...codes.map((code) => make("li", {}, code)));
  const text = `AIaaS recovery codes\n${location.host}, ${new Date().toISOString().slice(0, 10)}\nEach works once.\n\n${codes.join("\n")}\n`;
  find("#codes-download").href = `data:text/plain;charset=utf-8,${encodeURIComponent(text)}`;
  find("#codes-copy").onclick = () => copy(codes.join("\n"));
  open(codesDialog).then(() => {
    find("#codes").replaceChildren();
    find("#codes-download").removeAttribute("href");
  });
}

find("#codes-kept").addEventListener("click", () => codesDialog.close());

onClick(find("#recovery-button"), main, () => sure({ title: "Make new recovery codes?", text: "Those that you have now stop working.", button: "Make new codes" }, async (done) => {
  const { recovery_codes: codes } = await post("/v1/me/recovery-codes");
  done();
  keep(codes);
  await security();
}));

onClick(find("#totp-button"), main, () => (has.totp ? stopTOTP() : startTOTP()));
onClick(find("#passkey-add"), main, addPasskey);
for (const button of all("[data-do]")) onClick(button, main, button.dataset.do === "totp" ? startTOTP : addPasskey);
for (const button of all("[data-copy]")) button.addEventListener("click", () => copy(find(`#${button.dataset.copy}`).textContent.replaceAll(" ", "")));

find("[data-open=password-dialog]").addEventListener("click", () => open(passwordDialog));
onSubmit(find("#password-form"), async ({ current_password: current, new_password: next }) => {
  await send("PUT", "/v1/me/password", { current_password: current, new_password: next });
  passwordDialog.close();
  await sessions();
  say("Password changed");
});
