/** An exported trace: one file that holds what it shows, asks nobody for anything, and can be read from a disk or printed. */
import { effect } from "@preact/signals";
import { render } from "preact";
import "./base.css";
import "./look.css";
import "./exported.css";
import { withWords, type Trace } from "./trace";
import { Inside } from "./views/inside";
import type { Ask, Source, ViewsByName } from "./views/source";
import { language } from "./words/language";
import { look } from "./words/look";

type AnyView = ViewsByName[keyof ViewsByName];

/** What `ouvert.inspection.page` puts into the file: the summary of a trace, and views of it. */
interface Exported {
  trace: Trace;
  views: AnyView[];
}

async function read(): Promise<Exported> {
  const text = document.querySelector("#data")?.textContent ?? "";
  const bytes = Uint8Array.from(atob(text.trim()), (each) => each.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(plain).text()) as Exported;
}

function sourceOf({ trace, views }: Exported): Source {
  const named = (name: string) => views.filter(({ view }) => view === name);
  return {
    trace: withWords(trace),
    has: (name) => named(name).length > 0,
    layers: (name) => [...new Set(named(name).map((view) => ("layer" in view ? view.layer : 0)))],
    load: <Name extends keyof ViewsByName>(name: Name, ask: Ask = {}) => {
      const found = named(name).find((view) => isAsked(view, ask));
      return found ? Promise.resolve(found as ViewsByName[Name]) : Promise.reject(new Error(look.value.notInFile));
    },
  };
}

/** Whether a view of one layer, token or head is the one asked for. */
function isAsked(view: AnyView, { layer, head, query, position }: Ask): boolean {
  switch (view.view) {
    case "attention":
      if (view.layer !== layer) return false;
      return query === "all" ? view.heads.length === 1 && view.heads[0] === head : view.queries.includes(Number(query));
    case "hidden_attention":
      return view.layer === layer && view.query === query;
    case "attribution":
      return view.place === position;
    default:
      return true;
  }
}

function Page({ source }: { source: Source }) {
  const say = look.value;
  const model = source.trace.model.name;
  return (
    <>
      <header class="exported-head">
        <h1>{say.exportedTitle(model)}</h1>
        <button type="button" class="quiet-button" lang={language.value === "fr" ? "en" : "fr"} onClick={() => (language.value = language.value === "fr" ? "en" : "fr")}>
          {say.otherLanguage}
        </button>
        <p>{source.trace.words === false ? say.exportedWithoutWords : say.exportedHint}</p>
      </header>
      <main>
        <h2 class="off-screen">{say.views}</h2>
        <Inside source={source} />
      </main>
    </>
  );
}

const root = document.querySelector("#trace");
effect(() => {
  document.documentElement.lang = language.value;
});
if (root)
  read().then(
    (exported) => {
      document.title = look.value.exportedTitle(exported.trace.model.name);
      render(<Page source={sourceOf(exported)} />, root);
    },
    (problem: unknown) => {
      root.textContent = `${look.value.unreadable} ${String(problem)}`;
    },
  );
