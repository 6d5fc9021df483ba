// Studies of the archive, newest first.

import { more, search } from "../api.js";
import { el, replace } from "../dom.js";
import { all, date, patientName, text } from "../words.js";

export async function open(view, { query, signal }) {
  const { rows, next } = await search("studies", query, { signal });
  const body = el("tbody", {}, rows.map(line));
  replace(view,
    el("h1", {}, "Studies"),
    el("table", {},
      el("thead", {}, el("tr", {}, ["Patient", "ID", "Date", "Modalities", "Description", "Accession"].map((one) => el("th", { scope: "col" }, one)))),
      body,
    ),
    next && el("button", { type: "button", onclick: async (event) => {
      event.target.remove();
      body.append(...(await more(next, { signal })).rows.map(line));
    } }, "More"),
  );
}

const line = (row) => el("tr", {},
  [patientName(row), text(row, "00100020"), date(text(row, "00080020")), all(row, "00080061").join(" "), text(row, "00081030"), text(row, "00080050")].map((one) => el("td", {}, one)),
);
