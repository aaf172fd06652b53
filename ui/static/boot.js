// Sets the theme before the first paint, then starts the program. The only script that is not compiled.
(() => {
  const asked = new URLSearchParams(location.search).get("theme");
  let stored = null;
  try { stored = localStorage.getItem("headrope.theme"); } catch { /* Storage may be forbidden. */ }
  const choice = [asked, stored].find((name) => name === "light" || name === "dark");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = choice ?? (dark ? "dark" : "light");

  const failed = (error) => {
    const box = document.createElement("div");
    box.className = "overlay";
    box.setAttribute("role", "alertdialog");
    const text = document.createElement("pre");
    text.textContent = `The dashboard could not start.\n\n${error}`;
    const again = document.createElement("button");
    again.className = "button primary";
    again.textContent = "Reload";
    again.onclick = () => location.reload();
    box.append(text, again);
    document.body.append(box);
  };
  const base = document.currentScript.src;
  const start = async () => {
    const glue = await import(new URL("{{script}}", base).href);
    await glue.default({ module_or_path: new URL("{{wasm}}", base) });
  };
  const ready = () => start().catch(failed);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready);
  else ready();
})();
