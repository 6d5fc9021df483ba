// Light or dark, as somebody chose it in the header of the explorer; as the system has it until then.

const KEY = "roentgate.theme";
const THEMES = ["auto", "light", "dark"];

export const theme = () => localStorage.getItem(KEY) ?? "auto";

export const showTheme = () => (document.documentElement.dataset.theme = theme());

export function turnTheme() {
  localStorage.setItem(KEY, THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  showTheme();
}
