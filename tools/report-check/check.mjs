// Opens the pages of `film-tools diagnose --html` in Chromium and looks at what a reader would see.
//
//     node check.mjs FILM_TOOLS [FOLDER]
//
// FILM_TOOLS is the program, FOLDER where pages and screenshots go. CHROMIUM names the browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const WIDTHS = { phone: 360, wide: 1280 };
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
// WCAG 2.1, 1.4.3: of text this small.
const CONTRAST = 4.5;

const root = resolve(fileURLToPath(import.meta.url), "../../..");
const [program, target] = process.argv.slice(2).map((path) => resolve(path));
assert(program, "usage: node check.mjs FILM_TOOLS [FOLDER]");
const folder = target ?? mkdtempSync(join(tmpdir(), "report-check-"));
mkdirSync(folder, { recursive: true });

/** Has film-tools write a page. */
function make(name, ...args) {
  const page = join(folder, `${name}.html`);
  execFileSync(program, ["diagnose", ...args, "--html", page, "--force"], { cwd: root, stdio: "pipe" });
  return page;
}

/** A checkpoint whose generators' names would be markup, if they were let. */
function hostile() {
  const path = join(folder, "hostile.safetensors");
  const header = {};
  let end = 0;
  const tensor = (name, shape) => {
    const bytes = 4 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [end, (end += bytes)] };
  };
  for (const prefix of ['"><script>document.title=1</script>', "<img src=x onerror=alert(1)>"]) {
    tensor(`${prefix}.mlp.0.weight`, [2, 3]);
    tensor(`${prefix}.mlp.0.bias`, [2]);
    tensor(`${prefix}.mlp.2.weight`, [8, 2]);
    tensor(`${prefix}.mlp.2.bias`, [8]);
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, text, Buffer.alloc(end, 0)]));
  return path;
}

/** Opens a page; nothing but itself may be asked for, and the console stays empty. */
async function open(browser, path, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const noise = [];
  page.on("console", (message) => noise.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => noise.push(`error: ${error}`));
  page.on("dialog", (dialog) => (noise.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
  const url = pathToFileURL(path).href;
  page.on("request", (request) => {
    if (request.url() !== url && !request.url().startsWith("data:")) noise.push(`request: ${request.url()}`);
  });
  await page.goto(url);
  assert.deepEqual(noise, []);
  return { page, noise, close: () => context.close() };
}

/** Texts whose contrast is too low, each with it. */
function faint(least) {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((byte) => {
      const share = byte / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const text = rgb(element instanceof SVGElement ? style.fill : style.color);
    const [light, dark] = [luminance(text), luminance(behind(element))].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < least) found.push(`${element.textContent.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return found;
}

/** What is to be seen whatever the width, the colours and the scripts. */
async function essentials(page, { generators, charts }) {
  assert.match(await page.title(), /^FiLM health: /);
  for (const heading of ["Overview", "Findings", "Layer by layer"]) {
    assert(await page.getByRole("heading", { name: heading, exact: true }).isVisible(), heading);
  }
  assert.equal(await page.locator("table.overview tbody tr").count(), generators);
  assert.match(await page.locator("table.overview tbody td").first().innerText(), /\d/);
  assert.match(await page.locator(".map tbody td").first().innerText(), /\d/);
  assert.equal(await page.locator(".charts svg").count(), charts);
  if (charts > 0) assert(await page.locator(".charts svg").first().isVisible());
}

/** Numbers appear under the pointer. */
async function hover(page) {
  assert.match(await page.locator(".map tbody td").first().getAttribute("title"), /layer 0: .*\d/);
  const chart = page.locator(".charts svg").first();
  const bars = chart.locator("g.b");
  const bar = bars.nth(Math.floor((await bars.count()) / 2));
  const text = bar.locator("text");
  assert(!(await text.isVisible()));
  assert(await chart.locator(".stat").isVisible());
  await bar.scrollIntoViewIfNeeded();
  const box = await bar.locator("rect").first().boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  assert(await text.isVisible());
  assert.match(await text.textContent(), /^-?[\d.e-]+ to -?[\d.e-]+: [\d,]+, [\d.]+%$/);
  assert(!(await chart.locator(".stat").isVisible()), "the readout takes the statistics' place");
}

/** Texts of a chart that run into each other or out of it. */
function collisions() {
  const found = [];
  for (const svg of document.querySelectorAll("svg")) {
    const outer = svg.getBoundingClientRect();
    if (outer.width === 0) continue;
    const texts = [...svg.querySelectorAll("text")].filter((text) => getComputedStyle(text).visibility === "visible");
    const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([text, box], index) => {
      if (box.left < outer.left - 1 || box.right > outer.right + 1) found.push(`${text} leaves its chart`);
      for (const [other, next] of boxes.slice(index + 1)) {
        const apart = box.right <= next.left || next.right <= box.left || box.bottom <= next.top || next.bottom <= box.top;
        if (!apart) found.push(`${text} and ${other}`);
      }
    });
  }
  return found;
}

/** A script that is put into the page does not run. */
async function refusesScripts({ page, noise }) {
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'run'";
    document.body.append(script);
  });
  assert.notEqual(await page.title(), "run");
  assert(noise.some((line) => line.includes("Content Security Policy")), noise.join("\n"));
}

const pages = [
  { name: "hybrid", path: make("hybrid", "tests/fixtures/hybrid_model"), generators: 2, charts: 12 },
  { name: "curves", path: make("curves", "tests/fixtures/siren_kernel/1d"), generators: 1, charts: 4 },
  { name: "hostile", path: make("hostile", hostile(), "--kernel-hidden-dim", "2"), generators: 2, charts: 8 },
];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
});
let checks = 0;
try {
  for (const expected of pages) {
    assert(readFileSync(expected.path).length < 2e6, "a page of at most 2 MB");
    for (const colorScheme of ["light", "dark"]) {
      for (const [size, width] of Object.entries(WIDTHS)) {
        const viewport = { width, height: 900 };
        const opened = await open(browser, expected.path, { colorScheme, viewport });
        const { page } = opened;
        await essentials(page, expected);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert(wide <= width, `${expected.name}: ${wide} px on a screen of ${width}`);
        assert.deepEqual(await page.evaluate(faint, CONTRAST), [], `${expected.name}, ${colorScheme}`);
        assert.deepEqual(await page.evaluate(collisions), [], `${expected.name}, ${size}`);
        await page.screenshot({ path: join(folder, `${expected.name}-${colorScheme}-${size}.png`), fullPage: true });
        await hover(page);
        await refusesScripts(opened);
        await opened.close();
        checks += 1;
      }
    }
    const { page, close } = await open(browser, expected.path, { javaScriptEnabled: false });
    await essentials(page, expected);
    await hover(page);
    await close();
    checks += 1;
  }
} finally {
  await browser.close();
}
console.log(`${checks} passed, 0 failed`);
console.log(`pages and screenshots: ${folder}`);
