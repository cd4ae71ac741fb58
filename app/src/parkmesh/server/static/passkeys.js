// Passkeys: making one on the account's page, signing in with one. The server makes the questions and checks the
// answers; this carries them between server and device.
"use strict";

const CSRF = document.querySelector("input[name=csrf_token]")?.value || "";

async function post(address, body) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRF-Token": CSRF },
    body: JSON.stringify(body),
  });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.detail);
  return content;
}

function tell(place, text) {
  place.textContent = text;
  place.hidden = !text;
}

const able = Boolean(window.PublicKeyCredential?.parseCreationOptionsFromJSON);
for (const part of document.querySelectorAll("[data-passkey-able]")) part.hidden = !able;

const registration = document.querySelector("[data-passkey-registration]");
registration?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const status = registration.querySelector("[data-passkey-status]");
  tell(status, "");
  try {
    const fields = new FormData(registration);
    const options = await post("/api/v1/passkeys/registration", { password: fields.get("password") });
    const credential = await navigator.credentials.create({
      publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options.public_key),
    });
    await post("/api/v1/passkeys", { credential: credential.toJSON(), name: fields.get("name") });
    location.assign("/account?done=passkey-added");
  } catch (error) {
    tell(status, error instanceof DOMException ? registration.dataset.failed : error.message);
  }
});

const entrance = document.querySelector("[data-passkey-entrance]");
entrance?.addEventListener("submit", async (event) => {
  const answer = entrance.querySelector("input[name=credential]");
  if (answer.value) return;
  event.preventDefault();
  const status = entrance.querySelector("[data-passkey-status]");
  tell(status, "");
  try {
    const options = await post("/api/v1/sessions/passkey/options", {});
    const credential = await navigator.credentials.get({
      publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options.public_key),
    });
    answer.value = JSON.stringify(credential.toJSON());
    delete entrance.dataset.sent;
    entrance.submit();
  } catch (error) {
    tell(status, error instanceof DOMException ? entrance.dataset.failed : error.message);
  }
});
