// Draws each canvas with `data-chart` (line, bar or stacked) from the table in its figure: the first column has the
// labels, each other one is a series, whose <th> may say by `data-tone` which colour it has. No page needs its own script.
"use strict";
(() => {
  const $ = (what, where = document) => where.querySelector(what);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const colour = (name) => { // a variable's text may be light-dark(...); the colour of an element is a colour
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const tones = ["waits", "told", "failed", "warn", "quiet"];
  const amount = (cell) => parseFloat(cell.dataset.value ?? cell.textContent.replace(/,/g, "")) || 0;
  const numbers = (canvas) => {
    const table = $("table", canvas.closest("figure"));
    const rows = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells].slice(1);
    const kind = canvas.dataset.chart;
    return {
      labels: rows.map((one) => one.cells[0].textContent.trim()),
      datasets: heads.map((head, place) => {
        const tone = colour(head.dataset.tone || tones[place % tones.length]);
        return {
          label: head.textContent.trim(), data: rows.map((one) => amount(one.cells[place + 1])), borderColor: tone,
          backgroundColor: tone, borderWidth: kind === "line" ? 2 : 0, pointRadius: 0, pointHitRadius: 12,
        };
      }),
    };
  };
  const dress = (chart) => {
    const ink = colour("quiet"), line = colour("line");
    chart.options.color = ink;
    for (const scale of Object.values(chart.options.scales)) {
      scale.ticks.color = ink;
      scale.grid.color = scale.border.color = line;
    }
  };
  const charts = new Map();
  const draw = (canvas) => {
    const kind = canvas.dataset.chart, figure = canvas.closest("figure"), isStacked = kind === "stacked";
    const name = canvas.dataset.labelledby || $("h2, h3", figure)?.id;
    canvas.setAttribute("role", "img");
    if (name) canvas.setAttribute("aria-labelledby", name);
    else canvas.setAttribute("aria-label", $("figcaption", figure)?.textContent.trim() || "Chart");
    const axis = (more, ticks) => ({ stacked: isStacked, border: {}, grid: {}, ticks: { maxRotation: 0, autoSkipPadding: 16, ...ticks }, ...more });
    const data = numbers(canvas);
    const chart = new Chart(canvas, {
      type: kind === "line" ? "line" : "bar", data,
      options: {
        animation: calm.matches ? false : { duration: 300 }, maintainAspectRatio: false, normalized: true,
        interaction: { mode: "index", intersect: false }, font: { family: getComputedStyle(document.body).fontFamily },
        plugins: { legend: { display: data.datasets.length > 1, position: "bottom", labels: { boxWidth: 12, boxHeight: 12 } } },
        scales: { x: axis({}, {}), y: axis({ beginAtZero: true, grace: "5%" }, { maxTicksLimit: 6 }) },
        datasets: { bar: { categoryPercentage: 1, barPercentage: 0.85 } },
      },
    });
    chart.options.scales.x.grid.display = false;
    dress(chart);
    chart.update("none");
    charts.set(canvas, chart);
  };
  const redraw = () => charts.forEach((chart, canvas) => {
    const { labels, datasets } = numbers(canvas);
    chart.data.labels = labels;
    datasets.forEach((set, place) => Object.assign(chart.data.datasets[place] || (chart.data.datasets[place] = {}), set));
    dress(chart);
    chart.update("none");
  });
  document.querySelectorAll("canvas[data-chart]").forEach(draw);
  document.addEventListener("stockbell:numbers", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
