// The page: polls and shows the program's state, and sends what the user does.
import { fromDrop, fromInput } from "./drops.js";
import * as options from "./options.js";
import * as plan from "./plan.js";
import { get, send, upload } from "./requests.js";
import { bytes, element, fill, plural, span } from "./words.js";

const BUSY_MS = 1000; // interval between requests for the state while something is running
const IDLE_MS = 3000;
const at = (id) => document.getElementById(id);

let state = { jobs: [], previews: [], version: "" };
let timer = 0;
let shownJob = null; // ID of the job whose options the form shows
let shownPlan = ""; // identifies the plan that is drawn: its job, options and recordings
let watched = null; // the command-line run whose preview is shown
let ownError = ""; // error of the last action, until one succeeds or another job is shown
const uploading = new Map(); // role -> { job, text, done, total }

const currentId = () => location.hash.slice(1).replace(/^(jobs|main)$/, "") || null;
const current = () => state.jobs.find((job) => job.id === currentId()) || null;
const isOpen = (job) => !job || ["draft", "failed"].includes(job.state);

// whether planning failed, so that the job cannot start; a failed run may be started again
const isRefused = (job) => Boolean(job && job.state === "draft" && job.activity === null && job.error && !job.is_planned);

const STATES = {
  draft: "Being prepared", queued: "Waiting for its turn", running: "Running", paused: "Paused", failed: "Failed", done: "Done",
};

const describeState = (job) => {
  if (!job) return "Choose a recording and a sharp reference. Nothing leaves this computer.";
  if (job.pausing) return "Pausing: finishing the frames in progress";
  if (job.state === "queued") return job.place > 1 ? `Number ${job.place} in the queue` : "Next in the queue";
  if (job.state === "paused") return job.frames_done ? `Paused with ${plural(job.frames_done, "frames")} done. Resume continues from there.` : "Paused. No piece was finished, so Resume starts from the beginning.";
  if (job.state === "running") return "Running. It continues when you close this page.";
  if (job.state === "done") return "Done and verified";
  if (job.state === "failed") return "Failed. Fix what the message describes, or just start again.";
  if (!job.input) return "Choose a recording and a sharp reference.";
  if (!job.reference) return "Next: a sharp reference of the same scene.";
  return job.is_planned ? "Ready to start" : "";
};

const act = async (work) => {
  try {
    const result = await work();
    ownError = "";
    return result;
  } catch (error) {
    ownError = error.message;
    return null;
  } finally {
    await look();
  }
};

const ensureJob = async () => {
  const job = current();
  if (job) return job;
  const made = await send("POST", "/api/jobs");
  shownJob = made.id; // so that the form keeps the options that were chosen before there was a job
  state.jobs.unshift(made);
  history.replaceState(null, "", `#${made.id}`);
  const values = options.collect(at("options"));
  if (Object.keys(values).length) await send("POST", `/api/jobs/${made.id}/options`, values);
  return made;
};

const percentOf = (job) => {
  if (job.state === "done") return 1;
  const progress = job.progress || job;
  return progress.frames ? Math.min(1, (progress.frames_done || 0) / progress.frames) : 0;
};

const drawProgress = (job) => {
  const shown = job && ["queued", "running", "paused", "done"].includes(job.state);
  at("progress").hidden = !shown;
  if (!shown) return;
  const share = percentOf(job);
  at("percent").textContent = `${Math.floor(100 * share)} %`;
  const bar = at("bar");
  bar.value = Math.round(1000 * share);
  const progress = job.progress || {};
  at("step").textContent = job.state === "running" ? progress.stage === "enhance" ? "enhancing" : progress.step || "starting" : "";
  const figures = [];
  if (job.state === "done") {
    const result = job.result;
    if (result.width) figures.push(["Size", `${result.width}×${result.height}`]);
    if (result.frames) figures.push(["Frames", result.frames.toLocaleString("en")]);
    if (result.seconds) figures.push(["Time", span(result.seconds)]);
    if (result.psnr) figures.push(["PSNR", `${result.psnr.toFixed(2)} dB`]);
    figures.push(["Output", job.output]);
  } else {
    const done = progress.frames_done ?? job.frames_done;
    const total = progress.frames ?? job.frames;
    figures.push(["Frames", total ? `${(done || 0).toLocaleString("en")} of ${total.toLocaleString("en")}` : "–"]);
    if (job.state === "running" && progress.stage === "enhance") {
      figures.push(["Frames per second", progress.fps ? progress.fps.toFixed(2) : "–"]);
      figures.push(["Time left", progress.eta_seconds === null || progress.eta_seconds === undefined ? "–" : `about ${span(progress.eta_seconds)}`]);
    }
  }
  fill(at("figures"), figures);
};

let wantedPair = "";
const drawPicture = (preview, why) => {
  at("picture").hidden = !preview;
  if (!preview) { wantedPair = ""; return; }
  at("picture-place").textContent = why;
  if (wantedPair === preview.after) return;
  wantedPair = preview.after;
  // replace both pictures at once, after both have loaded
  const pair = [preview.before, preview.after].map((source) => { const image = new Image(); image.src = source; return image; });
  Promise.all(pair.map((image) => image.decode())).then(() => {
    if (wantedPair !== preview.after) return;
    at("before").src = preview.before;
    at("after").src = preview.after;
    at("compare").style.maxWidth = `calc(70vh * ${preview.width} / ${preview.height})`;
  }).catch(() => { wantedPair = ""; });
};

const drawDrop = (card, job) => {
  const role = card.dataset.role;
  const going = uploading.get(role);
  const busy = Boolean(going) && going.job === (job ? job.id : null);
  const name = job ? job[`${role}_name`] : "";
  card.querySelector(".empty").hidden = busy || Boolean(name);
  card.querySelector(".busy").hidden = !busy;
  card.querySelector(".full").hidden = busy || !name;
  card.querySelector(".named:not(#proposal)").hidden = busy || Boolean(name);
  card.classList.toggle("has", Boolean(name) && !busy);
  card.querySelector(".name").textContent = name;
  if (busy) {
    card.querySelector(".what").textContent = going.text;
    card.querySelector(".busy progress").value = going.total ? 100 * going.done / going.total : 0;
  }
};

const drawProposal = (job) => {
  const ready = Boolean(job && job.input);
  at("proposal").hidden = Boolean(job && job.reference && !job.key_frames);
  at("propose").querySelector("button").disabled = !ready || job.activity === "key frames";
  at("keys").hidden = !job || !job.key_frames;
  let text = "";
  if (!ready) text = "Drop the recording first.";
  else if (job.activity === "key frames") text = "Looking at all frames …";
  else if (job.key_frames) text = `${plural(job.key_frames, "key frames")} proposed.`;
  if (at("proposed").textContent !== text) at("proposed").textContent = text;
  if (job) at("keys").href = `/api/jobs/${job.id}/key-frames.zip`;
};

const drawPlan = async (job) => {
  at("start").parentElement.hidden = !isOpen(job);
  at("start").disabled = !job || !job.input || !job.reference || uploading.size > 0 || isRefused(job);
  at("start").textContent = job && job.state === "failed" ? "Start again" : "Start";
  const busy = state.jobs.some((each) => ["queued", "running"].includes(each.state));
  at("start-hint").textContent = busy && isOpen(job) ? "Only one job runs at a time, so this one will wait for its turn." : "";
  const ready = Boolean(job && job.is_planned);
  at("plan-card").classList.toggle("waiting", !ready);
  let text = "The plan will appear here. It shows which reference is used for which part of the recording.";
  if (job && job.activity === "plan") text = "Choosing a reference for every frame …";
  else if (job && job.input && job.reference) text = job.error ? "There is no plan; see the message above." : "";
  else if (job && job.input) text = "Add a sharp reference to see the plan.";
  at("plan-state").hidden = ready || !text;
  if (at("plan-state").textContent !== text) at("plan-state").textContent = text;
  at("plan-card").hidden = !isOpen(job) && !ready;
  if (!ready) { at("plan").hidden = true; at("plan-size").textContent = ""; shownPlan = ""; return; }
  const key = `${job.id} ${JSON.stringify(job.options)} ${job.input} ${job.reference}`;
  if (shownPlan === key) return;
  shownPlan = key;
  try {
    const found = await get(`/api/jobs/${job.id}/plan`);
    if (shownPlan !== key) return;
    plan.draw(found, `/api/jobs/${job.id}/plan`);
    at("plan").hidden = false;
  } catch (error) {
    shownPlan = "";
    ownError = error.message;
  }
};

const replaceItems = (list, items, key) => {
  if (list.dataset.shown === key) return;
  list.dataset.shown = key;
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  list.replaceChildren(...items());
  if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
};

const drawJobs = () => {
  at("no-jobs").hidden = state.jobs.length > 0;
  at("to-jobs").hidden = state.jobs.length === 0;
  at("to-jobs").textContent = plural(state.jobs.length, "Jobs");
  const lines = state.jobs.map((job) => {
    const share = percentOf(job);
    let text = STATES[job.state];
    if (job.state === "running") text = share ? `Running, ${Math.floor(100 * share)} %` : "Running";
    if (job.pausing) text = "Pausing";
    if (job.state === "draft" && job.is_planned) text = "Ready to start";
    return { id: job.id, title: job.title, state: job.state, text, share: ["running", "paused"].includes(job.state) ? Math.round(100 * share) : null, on: job.id === currentId() };
  });
  replaceItems(at("job-list"), () => lines.map((line) => element("li", {}, element("a", { href: `#${line.id}`, "aria-current": line.on ? "page" : null, "data-key": line.id },
    element("strong", {}, line.title), element("span", { class: `small ${line.state}` }, line.text),
    ...(line.share === null ? [] : [element("progress", { max: 100, value: line.share, "aria-label": `Progress of ${line.title}` })])))), JSON.stringify(lines));
  at("others-running").hidden = state.previews.length === 0;
  const runs = state.previews.map((each) => ({ run: each.run, name: each.name, old: each.age > 20, on: watched === each.run }));
  replaceItems(at("run-list"), () => runs.map((each) => {
    const button = element("button", { type: "button", "aria-pressed": String(each.on), "data-key": each.run },
      element("strong", {}, each.name), element("span", { class: "small" }, each.old ? "finished or waiting" : "running"));
    button.addEventListener("click", () => { watched = each.on ? null : each.run; draw(); });
    return element("li", {}, button);
  }), JSON.stringify(runs));
};

const draw = () => {
  const job = current();
  document.title = job ? `${job.title} – Super-resolution` : "Super-resolution";
  at("title").textContent = job ? job.title : "New job";
  const text = describeState(job);
  if (at("state").textContent !== text) at("state").textContent = text;
  const error = ownError || (job && job.activity === null ? job.error : "");
  at("error").hidden = !error;
  if (at("error").textContent !== error) at("error").textContent = error;

  at("pause").hidden = !job || !["queued", "running"].includes(job.state);
  at("pause").disabled = Boolean(job && job.pausing);
  at("resume").hidden = !job || job.state !== "paused";
  at("download").hidden = !job || job.state !== "done";
  at("report").hidden = !job || !job.report;
  at("remove").hidden = !job;
  if (job) { at("download").href = `/api/jobs/${job.id}/output`; at("report").href = `/api/jobs/${job.id}/report`; }

  at("editor").hidden = !isOpen(job);
  at("plan-title").querySelector(".number").hidden = !isOpen(job);
  document.querySelectorAll(".drop").forEach((card) => drawDrop(card, job));
  drawProposal(job);
  if (isOpen(job) && shownJob !== (job ? job.id : null)) {
    shownJob = job ? job.id : null;
    options.show(at("options"), job ? job.options : {});
  }
  drawProgress(job);
  const other = state.previews.find((each) => each.run === watched);
  if (other) drawPicture(other, `${other.name}, on the command line, ${other.place}`);
  else drawPicture(job ? job.preview : null, job && job.preview ? job.preview.place : "");
  drawPlan(job);
  at("picture-title").textContent = job && job.state === "done" ? "Before and after" : "Latest frame";
  at("notes-card").hidden = !job || job.notes.length === 0 || isOpen(job);
  if (job) replaceItems(at("notes"), () => job.notes.map((note) => element("li", {}, note)), JSON.stringify(job.notes));
  drawJobs();
  at("version").textContent = state.version ? `Version ${state.version}.` : "";
};

const look = async () => {
  clearTimeout(timer);
  try {
    state = await get("/api/state");
    at("lost").hidden = true;
  } catch {
    at("lost").hidden = false;
  }
  const job = current();
  if (currentId() && !job && at("lost").hidden) history.replaceState(null, "", "#");
  draw();
  const busy = state.previews.length || state.jobs.some((each) => each.activity || ["queued", "running"].includes(each.state));
  clearTimeout(timer);
  timer = setTimeout(look, busy ? BUSY_MS : IDLE_MS);
};

const receive = (role, files) => act(async () => {
  if (!files.length) throw new Error("What you dropped contains no files; choose them with a button instead.");
  const job = await ensureJob();
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  const what = files.length === 1 ? files[0].name : plural(files.length, "files");
  const going = { job: job.id, text: `Copying ${what} (${bytes(total)})`, done: 0, total };
  uploading.set(role, going);
  draw();
  try {
    await upload(job.id, role, files, (done) => { going.done = done; draw(); });
  } finally {
    uploading.delete(role);
  }
});

for (const card of document.querySelectorAll(".drop")) {
  const role = card.dataset.role;
  card.addEventListener("dragover", (event) => { event.preventDefault(); card.classList.add("over"); });
  card.addEventListener("dragleave", (event) => { if (!card.contains(event.relatedTarget)) card.classList.remove("over"); });
  card.addEventListener("drop", async (event) => {
    event.preventDefault();
    card.classList.remove("over");
    receive(role, await fromDrop(event.dataTransfer));
  });
  for (const input of card.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => { const files = fromInput(input); input.value = ""; if (files.length) receive(role, files); });
  }
  card.querySelector(".replace").addEventListener("click", () => act(() => send("DELETE", `/api/jobs/${currentId()}/files/${role}`)));
  card.querySelector("form.path").addEventListener("submit", (event) => {
    event.preventDefault();
    const path = event.target.querySelector("input").value;
    act(async () => {
      if (!path.trim()) throw new Error("Type a path first, such as /home/me/clip.mp4.");
      const job = await ensureJob();
      await send("POST", `/api/jobs/${job.id}/path/${role}`, { path });
    });
  });
}
// otherwise, the browser would replace the page with a file that is dropped outside the cards
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());

at("propose").addEventListener("submit", (event) => {
  event.preventDefault();
  const count = at("count").value ? Number(at("count").value) : null;
  act(() => send("POST", `/api/jobs/${currentId()}/key-frames`, { count }));
});
at("options").addEventListener("submit", (event) => event.preventDefault());
at("options").addEventListener("change", () => {
  const job = current();
  if (job) act(() => send("POST", `/api/jobs/${job.id}/options`, options.collect(at("options"))));
});
for (const name of ["start", "pause"]) at(name).addEventListener("click", () => act(() => send("POST", `/api/jobs/${currentId()}/${name}`)));
at("resume").addEventListener("click", () => act(() => send("POST", `/api/jobs/${currentId()}/start`)));
at("remove").addEventListener("click", () => {
  const job = current();
  at("ask-text").textContent = job.state === "draft" ? "Its uploaded files will be deleted." : "Its uploaded files will be deleted, as will its output if that is in the page’s own folder. Files that you chose by path are kept.";
  at("ask").showModal();
});
at("ask").addEventListener("close", () => {
  if (at("ask").returnValue !== "yes") return;
  act(async () => { await send("DELETE", `/api/jobs/${currentId()}`); history.replaceState(null, "", "#"); });
});
at("split").addEventListener("input", (event) => at("compare").style.setProperty("--split", `${event.target.value}%`));
at("new").addEventListener("click", () => { ownError = ""; });
window.addEventListener("hashchange", () => {
  if (["jobs", "main"].includes(location.hash.slice(1))) return;
  watched = null;
  ownError = "";
  draw();
});

act(async () => options.build(await get("/api/options"), at("common"), at("others")));
