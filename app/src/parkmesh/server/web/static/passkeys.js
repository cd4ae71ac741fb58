// Passkeys: making one on the account's page, signing in with one. The server makes the questions and checks the
// answers; this carries them between server and device.
"use strict";

const CSRF = document.querySelector("input[name=csrf_token]")?.value || "";

// What the server refuses, in words for the reader; every other error has words for programmers only.
class Refused extends Error {}

async function post(address, body) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRF-Token": CSRF },
    body: JSON.stringify(body),
  });
  const content = await answer.json();
  if (!answer.ok) throw new Refused(content.detail);
  return content;
}

// Runs a ceremony when its form is sent: one at a time, a second one would make the browser end the first.
function onSubmit(form, ceremony) {
  const status = form.querySelector("[data-passkey-status]");
  const tell = (text) => {
    status.textContent = text;
    status.hidden = !text;
  };
  let busy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    event.submitter?.setAttribute("aria-busy", "true");
    tell("");
    try {
      await ceremony();
    } catch (error) {
      tell(error instanceof Refused ? error.message : form.dataset.failed);
    } finally {
      busy = false;
      event.submitter?.removeAttribute("aria-busy");
    }
  });
}

const able = Boolean(window.PublicKeyCredential?.parseCreationOptionsFromJSON);
for (const part of document.querySelectorAll("[data-passkey-able]")) part.hidden = !able;
for (const part of document.querySelectorAll("[data-passkey-unable]")) part.hidden = able;

const registration = document.querySelector("[data-passkey-registration]");
if (registration) {
  onSubmit(registration, async () => {
    const fields = new FormData(registration);
    const options = await post("/api/v1/passkeys/registration", { password: fields.get("password") });
    const credential = await navigator.credentials.create({
      publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options.public_key),
    });
    await post("/api/v1/passkeys", { credential: credential.toJSON(), name: fields.get("name") });
    location.assign(registration.dataset.then);
  });
}

const entrance = document.querySelector("[data-passkey-entrance]");
if (entrance) {
  onSubmit(entrance, async () => {
    const options = await post("/api/v1/sessions/passkey/options", {});
    const credential = await navigator.credentials.get({
      publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options.public_key),
    });
    entrance.elements.credential.value = JSON.stringify(credential.toJSON());
    entrance.submit();
  });
}
