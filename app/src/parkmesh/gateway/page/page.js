// Keeps reads and passages fresh while somebody looks. Without it the page works by loading it again.
"use strict";
(() => {
  const live = document.getElementById("live");
  const lost = document.getElementById("lost");
  if (!live) return;
  const look = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(`/live?seen=${live.dataset.seen}`, { redirect: "error", cache: "no-store" });
      if (answer.status === 200) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("live");
        live.replaceChildren(...fresh.childNodes);
        live.dataset.seen = fresh.dataset.seen;
      } else if (answer.status === 401) {
        location.reload();
      }
      lost.hidden = answer.ok || answer.status === 204;
    } catch {
      lost.hidden = false;
    }
  };
  setInterval(look, 2000);
  document.addEventListener("visibilitychange", look);
})();
