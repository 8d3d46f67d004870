"use strict";
const PAGE = 100;  // rows of a table that are in the document at a time
const FEW = 3;  // rows that need no filter
const order = new Intl.Collator("en", {numeric: true}).compare;
const make = (name, text, more) => Object.assign(document.createElement(name), {textContent: text}, more);
const numberOf = text => parseFloat(text.replace(/^[^\d.+-]+/, ""));
const textOf = cell => cell ? cell.textContent : "";

function live(box) {
  const body = box.querySelector("tbody"), heads = [...box.querySelectorAll("thead th")];
  const names = heads.map(textOf), caption = textOf(box.querySelector("caption"));
  const all = [...body.rows], said = new Map(all.map(row => [row, row.textContent.toLowerCase()]));
  let shown = all, first = 0, sorted = -1, sign = 1;

  const bar = make("div", "", {className: "bar"});
  const field = (name, input) => { const label = make("label", name); label.append(input); bar.append(label); return input; };
  const button = (text, act) => { const made = make("button", text, {type: "button", onclick: act}); bar.append(made); return made; };
  const search = make("input", "", {type: "search", oninput: choose});
  if (all.length > FEW) field("Filter", search);
  const picks = heads.flatMap((head, column) => {
    const values = "pick" in head.dataset ? [...new Set(all.map(row => textOf(row.cells[column])))].sort(order) : [];
    if (values.length < 2) return [];
    const select = field(names[column], make("select", "", {onchange: choose}));
    select.append(make("option", "all", {value: "all"}), ...values.map((value, at) => make("option", value || "none", {value: at})));
    return [row => select.value === "all" || textOf(row.cells[column]) === values[select.value]];
  });
  const count = bar.appendChild(document.createElement("output"));
  const back = button("Back", () => { first -= PAGE; show(); }), next = button("Next", () => { first += PAGE; show(); });
  button("CSV", () => save("csv", text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text, line => line.join(",")));
  button("Markdown", () => save("md", text => text.replaceAll("|", "\\|").replaceAll("\n", " "), line => `| ${line.join(" | ")} |`));

  function choose() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = all.filter(row => words.every(word => said.get(row).includes(word)) && picks.every(fits => fits(row)));
    first = 0;
    if (sorted >= 0) {
      const isNumber = heads[sorted].classList.contains("n"), key = new Map();
      for (const row of shown) { const text = textOf(row.cells[sorted]); key.set(row, isNumber ? numberOf(text) : text); }
      const lacks = x => isNumber ? Number.isNaN(x) : x === "";  // these come last, whichever way round
      shown.sort((r, s) => { const a = key.get(r), b = key.get(s);
        return lacks(a) - lacks(b) || (lacks(a) ? 0 : sign * (isNumber ? a - b : order(a, b))); });
    }
    show();
  }
  function show() {
    const until = Math.min(first + PAGE, shown.length), isPaged = shown.length > PAGE;
    body.replaceChildren(...shown.slice(first, until));
    count.textContent = (isPaged ? `${first + 1} to ${until} of ${shown.length}` : `${shown.length}`) +
      (shown.length < all.length ? ` of ${all.length} rows, filtered` : all.length === 1 ? " row" : " rows");
    back.hidden = next.hidden = !isPaged;
    back.disabled = first === 0;
    next.disabled = until === shown.length;
    bar.classList.toggle("told", isPaged || shown.length < all.length);
  }
  function save(kind, write, join) {
    const lines = [names, ...shown.map(row => [...row.cells].map(textOf))].map(line => join(line.map(write)));
    if (kind === "md") lines.splice(1, 0, join(heads.map(head => head.classList.contains("n") ? "--:" : ":--")));
    const link = make("a", "", {download: `${caption.replace(/[^\w.-]+/g, "_")}.${kind}`});
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], {type: "text/plain"}));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  heads.forEach((head, column) => {
    head.setAttribute("aria-sort", "none");
    head.replaceChildren(make("button", names[column], {type: "button", onclick: () => {
      sign = sorted === column ? -sign : 1;
      sorted = column;
      heads.forEach((other, at) => other.setAttribute("aria-sort", at !== sorted ? "none" : sign > 0 ? "ascending" : "descending"));
      choose();
    }}));
  });
  count.setAttribute("role", "status");
  box.prepend(bar);
  show();
}
document.querySelectorAll(".table.live").forEach(live);

const theme = document.getElementById("theme"), root = document.documentElement;
const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const tell = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.onclick = () => { root.dataset.theme = isDark() ? "light" : "dark"; tell(); };
matchMedia("(prefers-color-scheme: dark)").onchange = tell;
theme.hidden = false;
tell();

let closed = [];  // paper cannot be opened
addEventListener("beforeprint", () => { closed = [...document.querySelectorAll("details.drawn:not([open])")]; closed.forEach(part => { part.open = true; }); });
addEventListener("afterprint", () => closed.forEach(part => { part.open = false; }));
