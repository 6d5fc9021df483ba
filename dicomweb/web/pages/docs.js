"use strict";
// Search, unfolding, and opening what an address names. Without it the page is complete, only not searchable.
const operations = [...document.querySelectorAll("details.operation")];
const groups = [...document.querySelectorAll("section.group")];
const rest = [document.getElementById("headers"), document.getElementById("schemas")];
const search = document.getElementById("search");
const unfold = document.getElementById("unfold");
const found = document.getElementById("found");
const texts = new Map(operations.map((one) => [one, one.textContent.toLowerCase()]));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const one of operations) {
    one.hidden = !words.every((word) => texts.get(one).includes(word));
    count += one.hidden ? 0 : 1;
    for (const link of document.querySelectorAll(`nav a[href="#${one.id}"]`)) {
      link.parentElement.hidden = one.hidden;
    }
  }
  for (const group of groups) {
    group.hidden = operations.every((one) => one.hidden || !group.contains(one));
    document.getElementById(`list-${group.id}`).hidden = group.hidden;
  }
  for (const one of rest) one.hidden = words.length > 0;
  found.textContent = words.length ? `${count} of ${operations.length} operations` : "";
}

function label() {
  const shown = operations.filter((one) => !one.hidden);
  unfold.textContent = shown.length && shown.every((one) => one.open) ? "Fold all" : "Unfold all";
}

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    if (target.closest("[hidden]")) {
      search.value = "";
      filter();
    }
    target.open = true;
    target.querySelector("summary").focus({ preventScroll: true });
    target.scrollIntoView();
  }
}

for (const block of document.querySelectorAll(".curl")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("code").textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  if (navigator.clipboard) block.append(button);
}

search.addEventListener("input", () => { filter(); label(); });
unfold.addEventListener("click", () => {
  const open = unfold.textContent === "Unfold all";
  for (const one of operations) if (!one.hidden) one.open = open;
  label();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !(event.target instanceof HTMLInputElement)) {
    event.preventDefault();
    search.focus();
  }
});
for (const one of operations) one.addEventListener("toggle", label);
document.querySelector(".tools").hidden = false;
window.addEventListener("hashchange", reveal);
if (search.value) filter();
reveal();
