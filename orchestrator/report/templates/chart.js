"use strict";
/* The chart of the hours: what was sent above, what each avatar did below, on one time axis. */
const KINDS = ["wait", "send", "retry", "confirm"];
const Night = {
  chart: null,
  data: null,
  colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); },

  show(element, night, names) {
    this.data = night;
    this.names = names;
    if (!night.lanes.length) { element.hidden = true; return; }
    element.hidden = false;
    if (!this.chart) {
      this.chart = echarts.init(element, null, { renderer: "canvas" });
      new ResizeObserver(() => this.chart.resize()).observe(element);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }
    this.draw();
  },

  /* The chart as a picture for paper, with the time that the screen shows; null where nothing was done. */
  onPaper(night, names) {
    if (!night.lanes.length) return null;
    const shown = this.chart, root = document.documentElement, zooms = shown?.getOption()?.dataZoom?.map(({ start, end }) => ({ start, end })) ?? [];
    Object.assign(this, { data: night, names });
    root.classList.add("on-paper");
    this.chart = echarts.init(document.createElement("div"), null, { renderer: "canvas", width: 1000, height: 520 });
    try {
      this.chart.setOption({ ...this.option(zooms), dataZoom: this.option(zooms).dataZoom.map((zoom) => ({ ...zoom, show: false })) });
      return this.chart.getDataURL({ pixelRatio: 2, backgroundColor: "#fff" });
    } finally {
      this.chart.dispose();
      this.chart = shown;
      root.classList.remove("on-paper");
    }
  },

  zoom(start, end) { this.chart?.dispatchAction({ type: "dataZoom", dataZoomIndex: 0, startValue: start, endValue: end }); },

  draw() {
    const before = this.chart.getOption()?.dataZoom?.map(({ start, end }) => ({ start, end })) ?? [];
    this.chart.setOption(this.option(before), { replaceMerge: ["series"] });
  },

  option(zooms) {
    const night = this.data, soft = this.colour("soft"), line = this.colour("line"), ink = this.colour("ink");
    const axis = { type: "time", min: night.start * 1000, max: night.end * 1000, axisLine: { lineStyle: { color: line } }, axisLabel: { color: soft, hideOverlap: true }, splitLine: { show: false } };
    return {
      animation: false,
      textStyle: { color: ink },
      grid: [{ left: 62, right: 18, top: 34, height: "20%" }, { left: 62, right: 18, top: "34%", bottom: 62 }],
      xAxis: [{ ...axis, gridIndex: 0, axisLabel: { show: false } }, { ...axis, gridIndex: 1 }],
      yAxis: [
        { type: "value", gridIndex: 0, name: "sent per second", nameTextStyle: { color: soft, align: "left" }, axisLabel: { color: soft, formatter: (value) => bytes(value), hideOverlap: true }, splitNumber: 2, splitLine: { lineStyle: { color: line } } },
        { type: "category", gridIndex: 1, inverse: true, data: night.lanes, axisTick: { show: false }, axisLine: { lineStyle: { color: line } }, axisLabel: { color: soft, width: 54, overflow: "truncate", interval: "auto" } },
      ],
      dataZoom: [
        { type: "inside", xAxisIndex: [0, 1], filterMode: "weakFilter", ...zooms[0] },
        { type: "slider", xAxisIndex: [0, 1], filterMode: "weakFilter", bottom: 10, height: 22, textStyle: { color: soft }, borderColor: line, ...zooms[1] },
        { type: "inside", yAxisIndex: 1, filterMode: "weakFilter", zoomOnMouseWheel: "shift", moveOnMouseWheel: false, ...zooms[2] },
      ],
      tooltip: { renderMode: "richText", backgroundColor: this.colour("card"), borderColor: line, textStyle: { color: ink, fontSize: 12 }, formatter: (item) => this.words(item) },
      series: [this.sent(), this.did(), this.marks(), this.failed()],
    };
  },

  /* What was sent, with the outages behind it. */
  sent() {
    const night = this.data, colour = this.colour("send");
    return {
      type: "line", name: "sent", xAxisIndex: 0, yAxisIndex: 0, showSymbol: false, sampling: "lttb", lineStyle: { width: 1.5, color: colour }, itemStyle: { color: colour }, areaStyle: { color: colour, opacity: .2 },
      data: night.goodput.map((rate, place) => [(night.start + (place + .5) * night.bin_seconds) * 1000, rate]),
      markArea: this.outages(),
    };
  },

  outages() {
    return {
      silent: false, itemStyle: { color: this.colour("outage") }, label: { show: false },
      data: this.data.outages.map((outage) => [{ xAxis: outage.start * 1000, name: `${outage.side} out: ${outage.reason}` }, { xAxis: outage.end * 1000 }]),
    };
  },

  /* What each avatar did: a bar for each span, segments stacked in the lane of their entry. */
  did() {
    const night = this.data, colours = KINDS.map((kind) => this.colour(kind));
    return {
      type: "custom", name: "did", xAxisIndex: 1, yAxisIndex: 1, progressive: 4000,
      encode: { x: [2, 3], y: 0 },
      data: night.spans.map(([lane, kind, start, end, row, rows]) => [lane, kind, night.start * 1000 + start * 100, night.start * 1000 + end * 100, row, rows]),
      renderItem: (params, api) => {
        const [left, middle] = api.coord([api.value(2), api.value(0)]);
        const right = api.coord([api.value(3), api.value(0)])[0];
        const lane = Math.max(api.size([0, 1])[1], 1), rows = api.value(5), bar = Math.max(lane * .84 / rows, .6);
        const shape = echarts.graphic.clipRectByRect(
          { x: left, y: middle - lane * .42 + api.value(4) * lane * .84 / rows, width: Math.max(right - left, .7), height: bar },
          params.coordSys);
        return shape && { type: "rect", shape, style: { fill: colours[api.value(1)] } };
      },
    };
  },

  /* Starts, kills and ends of runs, and the outages once more. */
  marks() {
    const night = this.data, ends = { running: "now", killed: "killed" };
    const starts = night.runs.map((run, place) => ({ xAxis: run.start * 1000, name: place ? "resumed" : "started" }));
    /* On a narrow screen the words would cover each other: there only the ends have them. */
    if (this.chart.getWidth() < 500) for (const start of starts) start.label = { show: false };
    const stops = night.runs.map((run) => ({ xAxis: run.end * 1000, name: ends[run.state] ?? `exit ${run.exit_code}` }));
    return {
      type: "line", name: "runs", xAxisIndex: 1, yAxisIndex: 1, data: [], markArea: this.outages(),
      markLine: { symbol: "none", silent: true, lineStyle: { color: this.colour("soft"), type: "dashed" }, label: { formatter: "{b}", color: this.colour("soft"), fontSize: 11, position: "start" }, data: [...starts, ...stops] },
    };
  },

  failed() {
    const night = this.data;
    return {
      type: "scatter", name: "failed", xAxisIndex: 1, yAxisIndex: 1, symbol: "rect", symbolSize: [1.5, 5], itemStyle: { color: this.colour("needs"), opacity: .75 },
      data: night.ticks.map(([lane, at, kind]) => [night.start * 1000 + at * 100, lane, kind]),
    };
  },

  words({ seriesName, value, name }) {
    if (!Array.isArray(value)) return name;
    if (seriesName === "sent") return `${clock(value[0] / 1000)}: ${bytes(value[1])} per second`;
    if (seriesName === "failed") return `${this.names.get(this.data.lanes[value[1]]) ?? ""}\n${clock(value[0] / 1000)}: a try failed (${value[2]})`;
    const [lane, kind, start, end, row, rows] = value;
    const part = rows > 1 ? `, part ${row + 1} of ${rows}` : "";
    return `${this.names.get(this.data.lanes[lane]) ?? ""}${part}\n${KINDS[kind]} ${length((end - start) / 1000)}\n${clock(start / 1000)} to ${clock(end / 1000)}`;
  },
};
