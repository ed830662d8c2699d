import type { DeletionReceipt, Removed } from "../../server/documents";
import { panel } from "../../state/view";
import { bytes, number } from "../../words";
import { papers } from "../../words/documents";
import { download } from "../download";
import { Icon } from "../icons";
import { Sheet } from "../panels/sheet";

/** What a deletion removed, and what no deletion reaches. */
export function DeletionPanel({ receipt }: { receipt: DeletionReceipt }) {
  const say = papers.value;
  const prompts = receipt.kept_prompt_pages === null ? say.keptPromptsNone : number(receipt.kept_prompt_pages);
  return (
    <Sheet title={say.deletionReceipt} place="centre" onClose={() => (panel.value = { kind: "documents" })}>
      <p>
        <Icon name="check" /> {say.deletedExplained}
      </p>
      <section>
        <h3>{say.deletedFrom(receipt.collection)}</h3>
        {receipt.removed.map((each, n) => (
          <Rows key={n} facts={factsOf(each)} />
        ))}
        <Rows facts={[[say.keptPrompts, prompts], [say.boxCopies, number(receipt.box_copies)]]} />
      </section>
      <section>
        <h3>{say.remains}</h3>
        <ul class="remains">
          {[receipt.remains].flat().map((each) => (
            <li key={each}>{each}</li>
          ))}
        </ul>
      </section>
      <div class="row-of-buttons end">
        <button type="button" class="plain" data-first onClick={() => download(`deletion-${receipt.collection}.json`, JSON.stringify(receipt, null, 1))}>
          {say.saveReceipt}
        </button>
      </div>
    </Sheet>
  );
}

function factsOf({ digest, pages, passages, kept_file_bytes: kept, bytes: whole }: Removed): [string, string][] {
  const say = papers.value;
  return [
    ...(digest ? ([[say.digestOf, `${digest.slice(0, 23)}…`]] as [string, string][]) : []),
    ...(pages === undefined ? [] : ([[say.deletedPages, number(pages)]] as [string, string][])),
    ...(passages === undefined ? [] : ([[say.deletedPassages, number(passages)]] as [string, string][])),
    ...((kept ?? whole) === undefined ? [] : ([[say.deletedBytes, bytes(kept ?? whole ?? 0)]] as [string, string][])),
  ];
}

const Rows = ({ facts }: { facts: [string, string][] }) => (
  <>
    {facts.map(([name, value]) => (
      <div class="fact" key={name}>
        <span>{name}</span>
        <span>{value}</span>
      </div>
    ))}
  </>
);
