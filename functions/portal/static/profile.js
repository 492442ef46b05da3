// The own profile.

import { send } from "./api.js";
import { all, fill, find, make, onSubmit, say } from "./page.js";
import { speak } from "./words.js";

const form = find("#profile-form");

const mails = {
  budgets: ["Budgets", "one has reached a threshold"],
  invoices: ["Invoices", "one was issued"],
  reminders: ["Reminders", "a key is to be rotated"],
  operations: ["Operations", "a webhook was disabled"],
};

const locales = ["en", "en-GB", "en-US", "de", "de-AT", "de-CH", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "pt-BR", "sv", "zh-CN"];

// named is a language by its own name: "Deutsch (Schweiz)".
function named(locale) {
  try {
    return new Intl.DisplayNames([locale], { type: "language", languageDisplay: "standard" }).of(locale);
  } catch {
    return locale;
  }
}

function zones() {
  return Intl.supportedValuesOf ? ["UTC", ...Intl.supportedValuesOf("timeZone")] : ["UTC"];
}

export function profile({ person, profile: set }) {
  find("#name").value = person.name;
  find("#email").value = person.email;
  find("#time_zone").value = set.time_zone;
  find("#zones").replaceChildren(...zones().map((zone) => make("option", { value: zone })));
  const known = set.locale && !locales.includes(set.locale) ? [set.locale, ...locales] : locales;
  find("#locale").replaceChildren(make("option", { value: "" }, "As in this browser"), ...known.map((locale) => make("option", { value: locale }, named(locale))));
  find("#locale").value = set.locale;
  optIns(set.mail);
}

function optIns(mail) {
  const set = find("#mail");
  const names = Object.keys(mails).filter((name) => name in mail);
  set.hidden = names.length === 0;
  set.replaceChildren(find("legend", set), ...names.map((name) => {
    const [title, note] = mails[name];
    const box = make("input", { type: "checkbox", name: `mail.${name}` });
    box.checked = Boolean(mail[name]);
    return make("label", {}, box, make("span", {}, title, make("small", { class: "hint" }, ` · ${note}`)));
  }));
}

onSubmit(form, async (values) => {
  const change = { name: values.name.trim(), time_zone: values.time_zone.trim(), locale: values.locale };
  const boxes = all("#mail input");
  if (boxes.length > 0) change.mail = Object.fromEntries(boxes.map((b) => [b.name.slice("mail.".length), b.checked]));
  await send("PATCH", "/v1/me", change);
  fill("name", change.name);
  speak(change.locale, change.time_zone);
  say("Saved");
});
