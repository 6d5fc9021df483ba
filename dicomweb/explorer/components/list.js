// A table of any length of which only the lines on screen exist. It asks for pages of rows as they come into view and
// forgets those far away, so that a hundred thousand studies cost what a screenful does.
//
//   const list = new List({
//     columns,            [{ name, label, width: "minmax(8rem, 2fr)", cell: (row) => text or node, sort: "PatientName", filter: node, narrow: false }]
//     label,              of the table, for screen readers
//     fetchPage,          async (offset, limit, next, signal) => { rows, next, remaining, atLeast }
//     key, open,          (row) => a name that is its own; (row) => go there (Enter, click)
//     expand,             optional: async (row, signal) => { nodes, height }, shown below the line
//     selected,           optional: (rows) => told when the selection changes; makes a column of check boxes
//     sorted, sort,       optional: "-StudyDate"; (order) => told when a head is pressed
//     empty,              () => node, for no rows at all
//     counted,            ({ total, atLeast }) => told when the number of rows is known
//   });
//
// `list.element` goes into the page, `list.load()` starts anew, `list.refresh()` too, where we are.

import { aborted, Newest } from "../api.js";
import { el, icon, replace } from "../dom.js";
import { failure } from "./notice.js";

const LINE = 34;
const PAGE = 100;
const KEPT = 40; // pages
const TALLEST = 30_000_000; // pixels: what browsers can lay out

export class List {
  constructor(options) {
    Object.assign(this, options);
    this.newest = new Newest();
    this.marked = new Map();
    this.opened = new Map(); // index: { height, nodes }
    this.lines = new Map(); // index: element
    this.active = 0;
    this.#draw();
    this.#forget();
  }

  #forget() {
    this.pages = new Map(); // number: { rows, next } or a promise
    this.total = null;
    this.atLeast = false;
    this.opened.clear();
  }

  #draw() {
    const boxes = this.selected ? [{ name: "mark", label: "", width: "34px", box: true }] : [];
    const folds = this.expand ? [{ name: "fold", label: "", width: "28px", fold: true }] : [];
    this.all = [...boxes, ...folds, ...this.columns];
    this.everything = this.selected && el("input", { type: "checkbox", "aria-label": "Select all rows that are loaded", onchange: (event) => this.#markAll(event.target.checked) });
    const heads = this.all.map((column) => this.#head(column));
    const filters = this.columns.some((column) => column.filter)
      ? el("div.list-row.filters", { role: "row" }, this.all.map((column) => el(`div.cell${column.narrow ? ".wide-only" : ""}`, { role: "columnheader", "aria-label": column.label ? `Filter of ${column.label}` : "Filters" }, column.filter)))
      : null;
    this.space = el("div.space", { role: "rowgroup" });
    this.said = el("div.list-message", { role: "gridcell" });
    this.message = el("div", { role: "row", hidden: true }, this.said);
    this.head = el("div.heads", { role: "rowgroup" }, el("div.list-row.head", { role: "row" }, heads), filters);
    this.element = el("div.list", { role: "grid", "aria-label": this.label, "aria-colcount": this.all.length, "aria-multiselectable": this.selected ? "true" : null }, this.head, this.space, this.message);
    this.element.style.setProperty("--columns", this.all.map((column) => column.width).join(" "));
    this.element.style.setProperty("--narrow-columns", this.all.filter((column) => !column.narrow).map((column) => column.width).join(" "));
    this.element.addEventListener("scroll", () => this.#plan(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.watch = new ResizeObserver(() => this.#plan());
    this.watch.observe(this.element);
  }

  #head(column) {
    const cell = el(`div.cell${column.narrow ? ".wide-only" : ""}${column.right ? ".right" : ""}`, { role: "columnheader", data: { name: column.name } });
    if (column.box) cell.append(this.everything);
    else if (column.fold) cell.append(el("span.hidden-words", {}, "Series"));
    else if (column.sort && this.sort) {
      cell.append(el("button.sorter", { type: "button", onclick: () => this.#sortBy(column.sort) }, column.label, el("span.arrow")));
      column.head = cell;
    } else cell.append(column.label);
    return cell;
  }

  #sortBy(name) {
    const order = this.sorted === name ? `-${name}` : this.sorted === `-${name}` ? "" : name;
    this.sort(order);
  }

  #showOrder() {
    for (const column of this.columns) {
      if (!column.head) continue;
      const way = this.sorted === column.sort ? "ascending" : this.sorted === `-${column.sort}` ? "descending" : "none";
      column.head.setAttribute("aria-sort", way);
      replace(column.head.querySelector(".arrow"), way === "none" ? null : icon(way === "ascending" ? "up" : "down", 12));
    }
  }

  // Start anew: after the search, the order or the data changed. What is on screen stays until the answer is there.
  async load() {
    this.#showOrder();
    const signal = this.newest.next();
    this.element.setAttribute("aria-busy", "true");
    try {
      const first = await this.fetchPage(0, PAGE, null, signal);
      this.#forget();
      this.#take(0, first);
      this.lines.forEach((line) => line.remove());
      this.lines.clear();
      this.element.scrollTop = 0;
      this.active = 0;
      this.message.hidden = first.rows.length > 0;
      if (!first.rows.length) replace(this.said, this.empty());
      this.#unmark();
      this.#plan(true);
    } catch (error) {
      if (aborted(error)) return;
      this.#forget();
      this.total = 0;
      this.#plan(true);
      this.message.hidden = false;
      replace(this.said, failure(error, () => this.load()));
    } finally {
      if (!signal.aborted) this.element.removeAttribute("aria-busy");
    }
  }

  close() {
    this.newest.stop();
    this.watch.disconnect();
  }

  #take(number, page) {
    this.pages.set(number, page);
    const known = number * PAGE + page.rows.length;
    if (page.remaining === 0) this.total = known;
    else this.total = Math.max(this.total ?? 0, known + page.remaining);
    this.atLeast = page.atLeast && known + page.remaining >= this.total;
    this.counted?.({ total: this.total, atLeast: this.atLeast });
    this.element.setAttribute("aria-rowcount", this.atLeast ? -1 : this.total + 1);
  }

  #want(number) {
    if (this.pages.has(number)) return;
    const before = this.pages.get(number - 1);
    const signal = this.signal();
    const coming = this.fetchPage(number * PAGE, PAGE, before?.next ?? null, signal).then((page) => {
      if (this.pages.get(number) !== coming) return;
      this.#take(number, page);
      this.#plan(true);
    }, (error) => {
      if (this.pages.get(number) === coming) this.pages.delete(number);
      if (!aborted(error)) console.info(error.message);
    });
    this.pages.set(number, coming);
    if (this.pages.size > KEPT) {
      const far = [...this.pages.keys()].sort((a, b) => Math.abs(b - number) - Math.abs(a - number));
      for (const one of far.slice(0, this.pages.size - KEPT)) this.pages.delete(one);
    }
  }

  signal() {
    return this.newest.signal ?? this.newest.next();
  }

  row(index) {
    return this.pages.get(Math.floor(index / PAGE))?.rows?.[index % PAGE];
  }

  // Where a line begins, opened ones above it counted in.
  #top(index) {
    let top = index * LINE;
    for (const [at, one] of this.opened) if (at < index) top += one.height;
    return top;
  }

  #at(y) {
    let low = 0;
    let high = Math.max(0, (this.total ?? 0) - 1);
    if (!this.opened.size) return Math.max(0, Math.min(high, Math.floor(y / LINE)));
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#top(middle) <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #plan(now = false) {
    if (now) return this.#show();
    this.planned ??= requestAnimationFrame(() => this.#show());
  }

  #show() {
    this.planned = null;
    const total = this.total ?? 0;
    this.space.style.height = `${Math.min(TALLEST, this.#top(total))}px`;
    const from = Math.max(0, this.#at(this.element.scrollTop) - 6);
    const to = Math.min(total, this.#at(this.element.scrollTop + this.element.clientHeight) + 8);
    for (const [index, line] of this.lines) {
      const keep = index >= from && index < to && (line.dataset.waiting === undefined || !this.row(index));
      if (!keep && !(line.contains(document.activeElement) && index >= from && index < to)) {
        const focused = line.contains(document.activeElement);
        line.remove();
        this.lines.delete(index);
        if (focused) this.lost = true;
      }
    }
    for (let index = from; index < to; index++) {
      this.#want(Math.floor(index / PAGE));
      let line = this.lines.get(index);
      if (!line) {
        line = this.#line(index);
        this.lines.set(index, line);
        const after = [...this.lines.keys()].filter((one) => one > index).sort((a, b) => a - b)[0];
        this.space.insertBefore(line, after === undefined ? null : this.lines.get(after));
      }
      line.style.transform = `translateY(${this.#top(index)}px)`;
      line.tabIndex = index === this.active ? 0 : -1;
    }
    if (this.lost && this.lines.has(this.active)) {
      this.lost = false;
      this.lines.get(this.active).focus({ preventScroll: true });
    }
    if (total && !this.lines.has(this.active) && this.lines.size) this.lines.get(Math.max(from, 0)).tabIndex = 0;
  }

  #line(index) {
    const row = this.row(index);
    const opened = this.opened.get(index);
    const line = el("div.line", { role: "row", "aria-rowindex": index + 2, data: row ? { index } : { index, waiting: "" } });
    const cells = row ? this.all.map((column) => this.#cell(column, row, index)) : el("div.cell.waiting", { role: "gridcell", "aria-busy": "true" }, el("span"));
    line.append(el("div.list-row", { role: "presentation" }, cells));
    if (row && opened) line.append(el("div.opened", { role: "gridcell", style: { height: `${opened.height}px` } }, opened.nodes));
    if (row && this.selected) line.setAttribute("aria-selected", String(this.marked.has(this.key(row))));
    line.addEventListener("focusin", () => (this.active = index));
    line.addEventListener("click", (event) => {
      if (event.target.closest("a, button, input, .opened") || getSelection().toString()) return;
      this.active = index;
      line.focus({ preventScroll: true });
      if (event.shiftKey || event.ctrlKey || event.metaKey) this.#mark(index, event.shiftKey);
      else if (this.open) {
        // The second click of a double click falls on the page that opens: it selects no words there.
        window.addEventListener("mousedown", (again) => again.detail > 1 && again.preventDefault(), { once: true });
        this.open(row);
      }
    });
    return line;
  }

  #cell(column, row, index) {
    if (column.box) {
      return el("div.cell.tight", { role: "gridcell" }, el("input", { type: "checkbox", tabindex: -1, checked: this.marked.has(this.key(row)), "aria-label": "Select", onclick: (event) => {
        event.stopPropagation();
        this.#mark(index, event.shiftKey);
      } }));
    }
    if (column.fold) {
      const open = this.opened.has(index);
      return el("div.cell.tight", { role: "gridcell" }, el("button.fold.quiet", { type: "button", tabindex: -1, "aria-expanded": String(open), "aria-label": open ? "Fold" : "Show series", onclick: () => this.toggle(index) }, icon(open ? "down" : "right", 14)));
    }
    const content = column.cell(row);
    const plain = typeof content === "string" || typeof content === "number";
    return el(`div.cell${column.narrow ? ".wide-only" : ""}${column.right ? ".right" : ""}${column.tight ? ".tight" : ""}`, { role: "gridcell", title: plain && String(content).length > 12 ? content : null }, content);
  }

  async toggle(index, open = !this.opened.has(index)) {
    const row = this.row(index);
    if (!row || open === this.opened.has(index)) return;
    if (open) {
      const signal = this.signal();
      try {
        const made = await this.expand(row, signal);
        if (!signal.aborted) this.opened.set(index, made);
      } catch (error) {
        if (aborted(error)) return;
        this.opened.set(index, { nodes: el("p.wrong", {}, error.message), height: 40 });
      }
    } else this.opened.delete(index);
    this.#redo(index);
  }

  #redo(index) {
    const line = this.lines.get(index);
    const focused = line?.contains(document.activeElement);
    line?.remove();
    this.lines.delete(index);
    this.#plan(true);
    if (focused) this.lines.get(index)?.focus({ preventScroll: true });
  }

  #mark(index, through) {
    const row = this.row(index);
    if (!row || !this.selected) return;
    const on = !this.marked.has(this.key(row));
    const [from, to] = through && this.anchor !== undefined ? [Math.min(index, this.anchor), Math.max(index, this.anchor)] : [index, index];
    for (let one = from; one <= to; one++) {
      const each = this.row(one);
      if (!each) continue;
      if (on) this.marked.set(this.key(each), each);
      else this.marked.delete(this.key(each));
      this.#markLine(one, on);
    }
    this.anchor = index;
    this.#tellMarked();
  }

  #markLine(index, on) {
    const line = this.lines.get(index);
    if (!line) return;
    line.setAttribute("aria-selected", String(on));
    const box = line.querySelector("input[type=checkbox]");
    if (box) box.checked = on;
  }

  #markAll(on) {
    this.marked.clear();
    if (on) for (const page of this.pages.values()) for (const row of page.rows ?? []) this.marked.set(this.key(row), row);
    for (const index of this.lines.keys()) this.#markLine(index, on);
    this.#tellMarked();
  }

  #unmark() {
    if (!this.selected) return;
    this.marked.clear();
    this.anchor = undefined;
    this.#tellMarked();
  }

  clearSelection() {
    this.#markAll(false);
  }

  #tellMarked() {
    if (!this.selected) return;
    const loaded = [...this.pages.values()].reduce((sum, page) => sum + (page.rows?.length ?? 0), 0);
    this.everything.checked = this.marked.size > 0 && this.marked.size >= loaded;
    this.everything.indeterminate = this.marked.size > 0 && this.marked.size < loaded;
    this.selected([...this.marked.values()]);
  }

  #key(event) {
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea, .opened, .heads, [role=menu]");
    if (typing || event.altKey || event.metaKey) return;
    const steps = Math.max(1, Math.floor(this.element.clientHeight / LINE) - 2);
    const to = {
      ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + steps, PageUp: this.active - steps, Home: 0, End: (this.total ?? 1) - 1,
    }[event.key];
    if (to !== undefined) this.focus(to);
    else if (event.key === "Enter" && event.target.classList.contains("line")) {
      const row = this.row(this.active);
      if (row) this.open?.(row);
    } else if (event.key === " " && this.selected && event.target.classList.contains("line")) this.#mark(this.active, event.shiftKey);
    else if (event.key === "ArrowRight" && this.expand) this.toggle(this.active, true);
    else if (event.key === "ArrowLeft" && this.expand) this.toggle(this.active, false);
    else if (event.key === "a" && event.ctrlKey && this.selected) this.#markAll(true);
    else return;
    event.preventDefault();
  }

  // Bring a line into view and give it the focus.
  focus(index) {
    const last = (this.total ?? 0) - 1;
    if (last < 0) return;
    this.active = Math.max(0, Math.min(last, index));
    const top = this.#top(this.active);
    const room = this.element.clientHeight - this.head.offsetHeight;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + LINE > this.element.scrollTop + room) this.element.scrollTop = top + LINE - room;
    this.#plan(true);
    this.lines.get(this.active)?.focus({ preventScroll: true });
  }

  // Take deleted rows out by starting anew where we are.
  async refresh() {
    const top = this.element.scrollTop;
    await this.load();
    this.element.scrollTop = top;
  }
}
