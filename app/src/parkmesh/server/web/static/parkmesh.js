// What every page's script does: menus that close, forms that are sent once, errors that get the focus.
"use strict";

// An error summary is read out and is where the keyboard goes on.
document.querySelector("[data-summary]")?.focus();

// A second press while the first is under way sends nothing. Coming back by the history makes the form usable again.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method === "dialog" || form.method === "get") return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  const question = event.submitter?.dataset.confirm || form.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
    return;
  }
  // Who was asked here is not asked again by a page.
  if (question) form.addEventListener("formdata", (sending) => sending.formData.set("confirmed", "yes"), { once: true });
  form.dataset.sent = "yes";
  event.submitter?.setAttribute("aria-busy", "true");
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
});

// Signing out in one tab takes what others show of the account off the screen, whether or not the server answers. The
// page that asks to sign in says when the session is over: a tab that went there before would be let in again.
const session = new BroadcastChannel("session");
const signOut = document.querySelector("form[action='/sign-out']");
if (signOut) {
  signOut.addEventListener("submit", () => session.postMessage("ending"));
  session.addEventListener("message", (message) => {
    document.body.replaceChildren();
    if (message.data === "over") location.replace("/sign-in");
  });
} else if (document.querySelector("form[action='/sign-in']")) {
  session.postMessage("over");
}

// Menus close when one looks elsewhere, and on Escape, which gives the focus back.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Copying a link: the button says what happened.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = button.dataset.copied;
  });
}

// A field that is one of thousands searches while one types: its list holds what the server finds.
for (const field of document.querySelectorAll("input[data-search]")) {
  let waiting;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const text = field.value;
      const answer = await fetch(`${field.dataset.search}?${new URLSearchParams({ q: text })}`).catch(() => null);
      const names = answer?.ok ? await answer.json() : [];
      // An answer to what was typed before comes too late.
      if (field.value === text) field.list.replaceChildren(...names.map((name) => new Option("", name)));
    }, 200);
  });
}

// Filters that are chosen act at once; without scripts their form has a button.
for (const select of document.querySelectorAll("select[data-submit]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

// What a gate that was asked to open answers: the notice is asked for again until it says the outcome.
for (const notice of document.querySelectorAll("[data-follow]")) {
  const timer = setInterval(async () => {
    const answer = await fetch(notice.dataset.follow, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!answer || !answer.ok) return;
    const now = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-testid=opening]");
    if (!now || now.dataset.state === notice.dataset.state) return;
    notice.className = now.className;
    notice.dataset.state = now.dataset.state;
    notice.textContent = now.textContent;
    if (!now.dataset.follow) clearInterval(timer);
  }, 1000);
}
