// What all pages do with what stands in them: forms, steps, messages, dialogs.

import { Cancelled, Problem } from "./api.js";

export const find = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];
export const main = find("main");
export const returnTo = main.dataset.returnTo;

// make builds an element: make("p", { class: "hint" }, "text", child).
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") element.addEventListener("click", value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((c) => c != null));
  return element;
}

// fill puts a text wherever the page has a place for it.
export function fill(place, text) {
  for (const element of all(`[data-${place}]`)) {
    if (element instanceof HTMLInputElement) element.value = text;
    else element.textContent = text;
  }
}

// step shows one of the page's sections and puts the focus on its heading.
export function step(name) {
  for (const section of all("[data-step]")) section.hidden = section.dataset.step !== name;
  const shown = find(`[data-step="${name}"]`);
  const first = find("[autofocus]", shown) || find("h1", shown);
  first?.focus();
  return shown;
}

let quiet;

// say tells what was done, also to those who don't see it.
export function say(text) {
  const place = find("#said");
  place.textContent = text;
  clearTimeout(quiet);
  quiet = setTimeout(() => { place.textContent = ""; }, 5000);
}

// go leaves the page for a path of this server, or for where the API sends to.
export function go(address) {
  const url = new URL(address, location.href);
  if (["javascript:", "data:", "blob:", "vbscript:", "file:", "about:"].includes(url.protocol)) throw new Error("The address is not allowed.");
  location.assign(url.href);
  return new Promise(() => {}); // until the page is gone
}

export const signIn = (from = location.pathname + location.search + location.hash) => go(`/sign-in?return_to=${encodeURIComponent(from)}`);

// clear takes away the messages of a form.
export function clear(form) {
  for (const field of all("[aria-invalid]", form)) {
    field.removeAttribute("aria-invalid");
    const error = errorOf(field);
    if (error) error.hidden = true;
  }
  const problem = problemOf(form);
  if (problem) { problem.hidden = true; problem.replaceChildren(); }
}

const errorOf = (field) => field.closest(".field")?.querySelector("[data-error]");
const problemOf = (form) => find("[data-problem]", form)
  || find(":scope > [data-problem]", form.closest("[data-factor], dialog, [data-step], main"));

function flaw(field, message) {
  field.setAttribute("aria-invalid", "true");
  const error = errorOf(field);
  if (!error) return;
  error.id ||= `${field.id}-error`;
  error.textContent = message;
  error.hidden = false;
  const described = new Set((field.getAttribute("aria-describedby") || "").split(" ").filter(Boolean));
  field.setAttribute("aria-describedby", [...described.add(error.id)].join(" "));
}

function missing(field) {
  if (field.validity.valueMissing) {
    const label = field.labels?.[0]?.textContent.trim();
    return label ? `“${label}” is missing.` : "This is missing.";
  }
  if (field.type === "email") return "This is no e-mail address.";
  return field.title ? `${field.title}, please.` : field.validationMessage;
}

// checked tells whether fields are filled in, and says what is missing.
export function checked(fields) {
  const wrong = [...fields].filter((e) => e.willValidate && !e.validity.valid);
  for (const field of wrong) flaw(field, missing(field));
  wrong[0]?.focus();
  return wrong.length === 0;
}

// show puts an error where it belongs: beside its field, else above the form.
export function show(form, error) {
  if (error instanceof Cancelled) return;
  if (!(error instanceof Problem)) console.error(error);
  const known = error instanceof Problem ? error.members.filter(([name]) => form.elements?.namedItem?.(name)) : [];
  for (const [name, message] of known) flaw(form.elements.namedItem(name), sentence(message));
  if (known.length > 0) { form.elements.namedItem(known[0][0]).focus(); return; }
  const problem = problemOf(form);
  problem.replaceChildren(sentence(error instanceof Problem ? error.message : "Something went wrong in this page. Load it again."));
  if (error.requestID) problem.append(make("small", {}, `If it goes on, name ${error.requestID} to who helps you.`));
  problem.hidden = false;
  problem.focus();
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}

// hold keeps a button from being used for some seconds, and counts them down.
function hold(button, seconds) {
  const own = [...button.childNodes];
  const end = Date.now() + seconds * 1000;
  button.setAttribute("aria-disabled", "true");
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0) {
      button.replaceChildren(...own);
      button.removeAttribute("aria-disabled");
      return;
    }
    button.textContent = `Try again in ${left < 90 ? `${left} s` : `${Math.ceil(left / 60)} min`}`;
    setTimeout(tick, 500);
  };
  tick();
}

// busy runs work that a button started, once at a time.
export async function busy(button, form, work) {
  if (button.getAttribute("aria-disabled") || button.getAttribute("aria-busy")) return;
  clear(form);
  button.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    show(form, error);
    if (error.retryAfter > 0 && error.status === 429) hold(button, Math.min(error.retryAfter, 3600));
  } finally {
    button.removeAttribute("aria-busy");
  }
}

// onSubmit runs work with the form's values once they are filled in. What was typed stays.
export function onSubmit(form, work) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clear(form);
    if (!checked(form.elements)) return;
    const button = event.submitter || find("button:not([type=button])", form);
    busy(button, form, () => work(Object.fromEntries(new FormData(form)), form));
  });
}

// onClick runs work when a button is pressed; what fails is shown in the form's place.
export function onClick(button, form, work) {
  button.addEventListener("click", () => busy(button, form, work));
}

// open shows a dialog and returns when it was closed.
export function open(dialog) {
  for (const form of all("form", dialog)) { form.reset(); clear(form); }
  const opener = document.activeElement;
  dialog.showModal();
  find("input:not(.away, [readonly])", dialog)?.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => { opener?.focus?.(); resolve(dialog.returnValue); }, { once: true });
  });
}

for (const dialog of all("dialog")) {
  dialog.addEventListener("cancel", (event) => { if ("stays" in dialog.dataset) event.preventDefault(); });
  for (const button of all("[data-close]", dialog)) button.addEventListener("click", () => dialog.close(""));
}

for (const button of all("[data-reveal]")) {
  button.addEventListener("click", () => {
    const input = find("input", button.parentElement);
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    button.setAttribute("aria-pressed", String(!shown));
    button.setAttribute("aria-label", shown ? "Show password" : "Hide password");
    input.focus();
  });
}

// copy puts a text on the clipboard.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    say("Copying is not allowed here: select the text instead");
  }
}

// fragmentToken is the secret of a link: it is taken out of the address, so that it
// stays in no history, and kept for this tab in case that the page is loaded again.
export function fragmentToken(name) {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(name, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return given || sessionStorage.getItem(name) || "";
}

// A code that is complete is sent at once: six digits need no button.
for (const input of all("[autocomplete=one-time-code]")) {
  input.addEventListener("input", () => {
    if (/^\d{3} ?\d{3}$/.test(input.value)) input.form.requestSubmit();
  });
}

// Once all scripts of the page have run, it says so: what is pressed before does nothing.
setTimeout(() => { document.documentElement.dataset.ready = ""; });
