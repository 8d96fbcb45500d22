// Keeps a page that `mupwd report --serve` has served up to date.
(() => {
  let shown = Number(document.currentScript.dataset.version);
  let wanted = shown;
  let busy = false;

  async function catchUp() {
    if (busy || document.hidden) return;
    busy = true;
    try {
      while (wanted !== shown && !document.hidden) {
        const version = wanted;
        const start = performance.now();
        // A page without the hook, and the server's word that something is wrong, are loaded whole.
        if (!window.mupwdUpdate) return location.reload();
        const response = await fetch("data", { cache: "no-store" });
        if (!response.ok) return location.reload();
        await window.mupwdUpdate(await response.json());
        shown = version;
        // Most of the time is the reader's, however large the page.
        await new Promise((resolve) => setTimeout(resolve, 3 * (performance.now() - start)));
      }
    } finally {
      busy = false;
    }
  }

  // Where the server has ended, the browser asks for it again every few seconds.
  new EventSource("events").onmessage = (event) => {
    wanted = Number(event.data);
    catchUp();
  };
  document.addEventListener("visibilitychange", catchUp);
})();
