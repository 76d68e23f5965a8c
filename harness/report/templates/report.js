"use strict";
// Sort and filter the table of trials. Without this script the table shows everything in the plan's order.
(() => {
  const table = document.getElementById("trials");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const controls = document.getElementById("filters");
  const shown = document.getElementById("shown");
  controls.hidden = false;

  const key = (row, column) => {
    const cell = row.cells[column];
    if ("v" in cell.dataset) return cell.dataset.v === "" ? null : Number(cell.dataset.v);
    return cell.textContent.trim();
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null); // what is missing stays last
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  };

  table.querySelectorAll("thead button").forEach((button) => {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const falling = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const column = head.cellIndex;
      const sorted = rows
        .map((row, index) => ({ row, index, key: key(row, column) }))
        .sort((a, b) => compare(a.key, b.key, falling ? -1 : 1) || a.index - b.index);
      body.append(...sorted.map((entry) => entry.row));
    });
  });

  const filter = () => {
    const text = controls.querySelector("input").value.toLowerCase();
    const chosen = Array.from(controls.querySelectorAll("select"))
      .filter((select) => select.value)
      .map((select) => [Number(select.dataset.column), select.value]);
    let count = 0;
    for (const row of rows) {
      const fits =
        row.textContent.toLowerCase().includes(text) &&
        chosen.every(([column, value]) => row.cells[column].textContent.trim() === value);
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
  };
  controls.addEventListener("input", filter);
  filter();
})();
