// RestART in the editor: "Embed schedule in workflow", and schedule files that can be dropped onto the canvas.
// The nodes do not need this file: without it, copy schedule_text by hand.
import { app } from "../../../scripts/app.js";

const ART = "RestART_ARTScheduler";
const SOURCES = ["RestART_FitARTSchedule", "RestART_FitARTScheduleAdvanced", "RestART_LoadARTSchedule"];
const PASSES_ON = ["RestART_SaveARTSchedule"]; // a schedule comes out as it went in
const FORMAT = "restart_art.schedule";
const MAX_FILE_BYTES = 64 * 1024; // as in schedules/art/storage.py; anything larger is not ours to open

// A new node's width and how much taller it is than the editor makes it, in pixels: text fields show what stands in
// them, no name is cut off, and the live curve can be read.
const ROOM = {
  RestART_CompareSchedules: [400, 200],
  RestART_FitARTSchedule: [400, 0],
  RestART_FitARTScheduleAdvanced: [400, 0],
  RestART_PlotSigmas: [400, 80],
  RestART_SamplerParallelMidpoint: [360, 0],
  RestART_SamplerRandomizedMidpoint: [360, 0],
  RestART_SamplerRestart: [400, 40],
};

const COMMAND = "RestART.EmbedSchedule";
const ENTRY = "Embed schedule in workflow";
const isSource = (item) => SOURCES.includes(item?.type);

const lastText = new WeakMap(); // source node -> the schedule of its last run

/** Tell the user, where the editor shows such things. */
function say(severity, detail) {
  app.extensionManager.toast.add({ severity, summary: "RestART", detail, life: 8000 });
}

/** A schedule's text is one line of JSON that names its format. */
function isSchedule(text) {
  try {
    return JSON.parse(text).format === FORMAT;
  } catch {
    return false;
  }
}

const mayHold = (file) => /\.safetensors$/i.test(file.name) && file.size > 8 && file.size <= MAX_FILE_BYTES;

/** The text of a schedule file (safetensors: length of the header, header, data), or null if it is not one. */
async function scheduleIn(file) {
  if (!mayHold(file)) return null;
  try {
    const bytes = await file.arrayBuffer();
    const length = Number(new DataView(bytes).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, length)));
    const text = header.__metadata__?.schedule;
    return isSchedule(text) ? text : null;
  } catch {
    return null; // a broken file: ComfyUI says so
  }
}

/** Run a change of the graph as one step of undo, apart from what the user did before it. */
function change(make) {
  // The editor's history listens to these two of the canvas; the graph's own beforeChange does not reach it.
  app.canvas.emitBeforeChange();
  app.canvas.emitAfterChange(); // what is not recorded yet becomes a step of its own
  app.canvas.emitBeforeChange();
  try {
    return make();
  } finally {
    app.canvas.emitAfterChange();
    app.canvas.setDirty(true, true);
  }
}

function setWidget(node, name, value) {
  const widget = node.widgets.find((w) => w.name === name);
  widget.value = value;
  widget.callback?.(value);
}

/** Put the text into an ART Scheduler; what is plugged into its schedule would win over it, so that is unplugged. */
function write(node, text) {
  setWidget(node, "schedule_text", text);
  const slot = node.inputs.findIndex((input) => input.name === "schedule");
  if (slot >= 0 && node.inputs[slot].link != null) node.disconnectInput(slot);
}

function addScheduler(graph, position) {
  const node = LiteGraph.createNode(ART);
  node.pos = position;
  graph.add(node);
  return node;
}

/** The links that leave an output of a node, as {target node, input number}. */
function consumers(node, output) {
  const slot = node.outputs.findIndex((o) => o.name === output);
  const ids = node.outputs[slot]?.links ?? [];
  const links = [...ids].map((id) => node.graph.getLink(id)).filter(Boolean);
  return links.map((link) => ({ target: node.graph.getNodeById(link.target_id), slot: link.target_slot }));
}

/** ART Schedulers that a schedule reaches, directly or through nodes that pass it on. */
function reached(node) {
  return consumers(node, "schedule").flatMap(({ target }) => {
    if (target?.type === ART) return [target];
    return PASSES_ON.includes(target?.type) ? reached(target) : [];
  });
}

/** An ART Scheduler beside the source that takes its place: same model, same steps, same consumers of its sigmas. */
function replaceSigmas(source, text) {
  const node = addScheduler(source.graph, [source.pos[0], source.pos[1] + source.size[1] + 60]);
  write(node, text);
  const asked = Number.parseInt(source.widgets.find((w) => w.name === "steps")?.value, 10);
  setWidget(node, "steps", asked || Number(Object.keys(JSON.parse(text).curves)[0]));
  const from = source.inputs.findIndex((input) => input.name === "model");
  const model = from >= 0 ? source.getInputNode(from) : null;
  if (model) {
    const origin = source.graph.getLink(source.inputs[from].link).origin_slot;
    model.connect(origin, node, node.inputs.findIndex((input) => input.name === "model"));
  }
  const sigmas = node.outputs.findIndex((output) => output.type === "SIGMAS");
  for (const { target, slot } of consumers(source, "sigmas")) node.connect(sigmas, target, slot);
  return node;
}

function textOf(source) {
  return lastText.get(source) ?? app.nodeOutputs?.[source.id]?.schedule_text?.[0];
}

/** The menu entry: into the ART Schedulers that are plugged in, else the selected ones, else a new one. */
function embed(source) {
  const text = textOf(source);
  if (!isSchedule(text)) {
    say("warn", "There is no schedule yet: run the workflow once, then embed it.");
    return;
  }
  const selected = Object.values(app.canvas.selected_nodes ?? {}).filter((node) => node.type === ART);
  const plugged = reached(source);
  change(() => {
    const targets = plugged.length ? plugged : selected;
    for (const node of targets) write(node, text);
    if (!targets.length) targets.push(replaceSigmas(source, text));
    const names = targets.map((node) => `"${node.title}"`).join(", ");
    say("success", `The schedule is in ${names} now and is saved with the workflow and its pictures.`);
  });
}

/** A dropped schedule: into the node it fell on or the selected ART Scheduler, else into a new one there. */
function place(text, onto) {
  const selected = Object.values(app.canvas.selected_nodes ?? {}).filter((node) => node.type === ART);
  const target = onto ?? (selected.length === 1 ? selected[0] : null);
  const graph = app.canvas.graph;
  change(() => write(target ?? addScheduler(graph, [...app.canvas.graph_mouse]), text));
}

/** The nodes drawn as page elements show the last live picture beside the finished one: the same curve twice. */
function dropLivePicture(node) {
  if (!LiteGraph.vueNodesMode) return; // the classic canvas shows one
  const pinia = document.querySelector("#vue-app")?.__vue_app__?.config.globalProperties.$pinia;
  const { graph, id } = node;
  pinia?._s?.get("nodeOutput")?.revokeSubgraphPreviews?.({ graph, id, subgraph: { nodes: [] } });
}

/** The front end of ComfyUI 0.8.0 saves its own result texts behind the widgets, where a later input would read them. */
function saveOwnValuesOnly(node) {
  const onSerialize = node.onSerialize;
  node.onSerialize = function (saved) {
    onSerialize?.apply(this, arguments);
    const own = (this.widgets ?? []).filter((widget) => !widget.name.startsWith("$$")).length;
    if (saved.widgets_values?.length > own) saved.widgets_values.length = own;
  };
}

app.registerExtension({
  name: "RestART.Schedules",

  setup() {
    const handleFile = app.handleFile;
    app.handleFile = async function (file, ...rest) {
      const text = await scheduleIn(file);
      return text ? place(text) : handleFile.call(this, file, ...rest);
    };
  },

  commands: [
    {
      id: COMMAND,
      label: ENTRY,
      icon: "pi pi-bookmark",
      function: () => Object.values(app.canvas.selected_nodes ?? {}).filter(isSource).forEach(embed),
    },
  ],

  // A button above the selected node: the only place that every version shows in both node styles.
  getSelectionToolboxCommands: (item) => (isSource(item) ? [COMMAND] : []),

  getNodeMenuItems: (node) => (isSource(node) ? [{ content: ENTRY, callback: () => void embed(node) }] : []),

  nodeCreated(node) {
    const type = node.constructor.comfyClass;
    if (type?.startsWith("RestART_")) saveOwnValuesOnly(node);
    if (ROOM[type]) node.setSize([ROOM[type][0], node.size[1] + ROOM[type][1]]);
    if (SOURCES.includes(type)) {
      const onExecuted = node.onExecuted;
      node.onExecuted = function (output) {
        onExecuted?.apply(this, arguments);
        const text = output?.schedule_text?.[0];
        if (isSchedule(text)) lastText.set(this, text);
        if (output?.images?.length) dropLivePicture(this);
      };
    } else if (type === ART) {
      node.onDragOver = (event) => [...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file");
      node.onDragDrop = function (event) {
        const file = event.dataTransfer?.files?.[0];
        if (!file || !mayHold(file)) return false; // at once: the editor then still finds the file in the event
        const read = scheduleIn(file);
        return read.then((text) => (text ? place(text, this) : app.handleFile(file, "file_drop"))).then(() => true);
      };
    }
  },
});
