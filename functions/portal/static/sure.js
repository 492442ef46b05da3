// The question before what can't be undone.

import { busy, find, open } from "./page.js";

const dialog = find("#sure-dialog");
const button = find("#sure-do");

// sure asks, and does the work once the answer is yes. The dialog stays while the work
// runs, and shows why it failed; work may close it earlier, for what is asked next.
export function sure({ title, text, button: label }, work) {
  find("#sure-title").textContent = title;
  find("#sure-text").textContent = text;
  button.textContent = label;
  let there = true;
  const close = () => {
    if (there) dialog.close();
    there = false;
  };
  button.onclick = () => busy(button, dialog, async () => {
    await work(close);
    close();
  });
  open(dialog);
  find("[data-close]", dialog).focus();
}
