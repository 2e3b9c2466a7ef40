// Draws the plan: stages with the nodes fused into them and the exchanges between, or the nodes as
// their author wrote them. dagre says where; every box is a link to its row.

import {bytesText, countText} from "./documents.js";

const SVG = "http://www.w3.org/2000/svg";
const ROW = 22, PAD = 12, WIDEST = 260;
const measure = document.createElement("canvas").getContext("2d");

function textWidth(text, font) {
  measure.font = font;
  return measure.measureText(text).width;
}

function draw(name, attributes, parent, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent?.append(element);
  return element;
}

function clipped(text, font, widest) {
  if (textWidth(text, font) <= widest) return text;
  let end = text.length;
  while (end > 1 && textWidth(`${text.slice(0, end)}…`, font) > widest) end -= 1;
  return `${text.slice(0, end)}…`;
}

const FONT = "13px system-ui, sans-serif", BOLD = `650 ${FONT}`, SMALL = "11.5px system-ui, sans-serif";

function stageBoxes(graph) {
  const nodes = new Map(graph.nodes.map((node) => [node.id, node]));
  return graph.stages.map((stage) => {
    const lines = [...stage.reads.map((text) => ({text: `reads ${text}`, sub: true}))];
    for (const id of stage.nodes) {
      const node = nodes.get(id);
      const rows = node && node.records_out !== null ? countText(node.records_out) : "";
      lines.push({text: id, right: rows, inner: true});
    }
    if (stage.writes) lines.push({text: `writes ${stage.writes}`, sub: true});
    if (stage.why) lines.push({text: `whole: ${stage.why}`, sub: true});
    return {
      key: `stage-${stage.number}`, href: `#stage-${stage.number}`, status: stage.status.toLowerCase(),
      title: `Stage ${stage.number} ${stage.name}`, side: `${stage.tasks_done}/${stage.tasks}`,
      share: stage.tasks ? stage.tasks_done / stage.tasks : 0, lines,
      about: `stage ${stage.number} ${stage.name}, ${stage.status}, ${stage.tasks_done} of ${stage.tasks} tasks done` +
        (stage.nodes.length ? `, nodes ${stage.nodes.join(", ")}` : ""),
    };
  });
}

function nodeBoxes(graph) {
  return graph.nodes.map((node) => ({
    key: node.id, href: `#node-${encodeURIComponent(node.id)}`, status: node.status.toLowerCase(), title: node.id,
    side: node.records_out === null ? "" : countText(node.records_out), share: node.status === "SUCCEEDED" ? 1 : 0,
    lines: [{text: `in stage ${node.stages.join(" and ")}`, sub: true}],
    about: `node ${node.id}, ${node.status}, in stage ${node.stages.join(" and ")}`,
  }));
}

function stageEdges(graph) {
  return graph.exchanges.map((exchange) => {
    const much = exchange.rows ? `${countText(exchange.rows)} rows, ${bytesText(exchange.bytes)}` : "";
    return {from: `stage-${exchange.source}`, to: `stage-${exchange.target}`, lines: [exchange.how, much].filter(Boolean)};
  });
}

function nodeEdges(graph) {
  return graph.nodes.flatMap((node) => node.reads.map((from) => ({from, to: node.id, lines: []})));
}

function sized(box) {
  const title = clipped(box.title, BOLD, WIDEST);
  let width = textWidth(title, BOLD) + textWidth(box.side, SMALL) + 16;
  for (const line of box.lines) {
    const font = line.sub ? SMALL : FONT;
    line.shown = clipped(line.text, font, WIDEST - 20);
    width = Math.max(width, textWidth(line.shown, font) + textWidth(line.right ?? "", SMALL) + (line.inner ? 30 : 0));
  }
  return {...box, shownTitle: title, width: width + 2 * PAD, height: 30 + ROW * box.lines.length + (box.lines.length ? 8 : 0)};
}

function drawBox(svg, box, place) {
  const left = place.x - box.width / 2, top = place.y - box.height / 2;
  const link = draw("a", {href: box.href, class: box.status, "aria-label": box.about}, svg);
  draw("title", {}, link, [box.title, ...box.lines.map((line) => line.text)].join("\n"));
  draw("rect", {class: "box", x: left, y: top, width: box.width, height: box.height, rx: 9}, link);
  if (box.share > 0) draw("rect", {class: "fill", x: left + 2, y: top + 2, width: (box.width - 4) * box.share, height: 26, rx: 7}, link);
  draw("text", {class: "strong", x: left + PAD, y: top + 20}, link, box.shownTitle);
  draw("text", {class: "sub", x: left + box.width - PAD, y: top + 20, "text-anchor": "end"}, link, box.side);
  box.lines.forEach((line, index) => {
    const y = top + 34 + ROW * index;
    if (line.inner) draw("rect", {class: "inner", x: left + 7, y, width: box.width - 14, height: ROW - 3, rx: 5}, link);
    draw("text", {class: line.sub ? "sub" : "", x: left + PAD + (line.inner ? 3 : 0), y: y + 14}, link, line.shown);
    if (line.right) draw("text", {class: "sub", x: left + box.width - PAD - 3, y: y + 14, "text-anchor": "end"}, link, line.right);
  });
}

function drawEdge(svg, edge, lines) {
  const [first, ...rest] = edge.points;
  let path = `M${first.x},${first.y}`;
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    path += next ? ` Q${point.x},${point.y} ${(point.x + next.x) / 2},${(point.y + next.y) / 2}` : ` L${point.x},${point.y}`;
  });
  draw("path", {class: "edge", d: path, "marker-end": "url(#head)"}, svg);
  if (!lines.length) return;
  const width = Math.max(...lines.map((line) => textWidth(line, SMALL))) + 10;
  draw("rect", {class: "plate", x: edge.x - width / 2, y: edge.y - 9 * lines.length, width, height: 17 * lines.length, rx: 4}, svg);
  lines.forEach((line, index) => draw("text", {class: "sub", x: edge.x, y: edge.y + 4 - 9 * (lines.length - 1) + 16 * index, "text-anchor": "middle"}, svg, line));
}

export function drawPlan(container, graph, kind) {
  const boxes = (kind === "nodes" ? nodeBoxes(graph) : stageBoxes(graph)).map(sized);
  const edges = kind === "nodes" ? nodeEdges(graph) : stageEdges(graph);
  const layout = new dagre.graphlib.Graph({multigraph: true}).setGraph({rankdir: "LR", nodesep: 26, ranksep: 34, marginx: 10, marginy: 10});
  for (const box of boxes) layout.setNode(box.key, {width: box.width, height: box.height});
  edges.forEach((edge, index) => {
    edge.lines = edge.lines.map((line) => clipped(line, SMALL, 200));
    const width = edge.lines.length ? Math.max(...edge.lines.map((line) => textWidth(line, SMALL))) + 14 : 10;
    layout.setEdge(edge.from, edge.to, {width, height: 17 * edge.lines.length || 4, labelpos: "c"}, String(index));
  });
  dagre.layout(layout);
  const {width, height} = layout.graph();
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, width: Math.ceil(width), height: Math.ceil(height), role: "group", "aria-label": kind === "nodes" ? "Nodes" : "Stages"});
  const marker = draw("marker", {id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto"}, draw("defs", {}, svg));
  draw("path", {class: "head", d: "M0,0 8,4 0,8z"}, marker);
  edges.forEach((edge, index) => drawEdge(svg, layout.edge({v: edge.from, w: edge.to, name: String(index)}), edge.lines));
  for (const box of boxes) drawBox(svg, box, layout.node(box.key));
  const scrolled = [container.scrollLeft, container.scrollTop];
  const focused = container.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  container.replaceChildren(svg);
  [container.scrollLeft, container.scrollTop] = scrolled;
  if (focused) container.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

export function choose(container, hash) {
  for (const link of container.querySelectorAll("svg > a")) link.classList.toggle("chosen", link.getAttribute("href") === hash);
}
