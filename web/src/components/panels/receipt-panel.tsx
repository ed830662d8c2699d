import { find, type Json, type Receipt } from "../../conversation";
import { type AdapterUsed, adapterInWords, adaptersIn, at, numberAt, speedOf, textAt } from "../../receipt";
import { current } from "../../state/open-conversations";
import { closePanel } from "../../state/view";
import { moment, number, precise, words } from "../../words";
import { Button } from "../button";
import { copyText } from "../clipboard";
import { download } from "../download";
import { Connections } from "./receipt-connections";
import { Bar, Digest, Group, Row } from "./receipt-rows";
import { Sheet } from "./sheet";

const SHORTEST = 0.01; // seconds; nobody feels a shorter time

/** The receipt of the answer that has that id. */
export function ReceiptPanel({ message }: { message: string }) {
  const receipt = find(current.value, message)?.receipt;
  return (
    <Sheet title={words.value.receiptTitle} onClose={closePanel}>
      {receipt ? <Contents receipt={receipt} /> : <p>{words.value.noReceipt}</p>}
    </Sheet>
  );
}

function Contents({ receipt }: { receipt: Receipt }) {
  return (
    <div class="receipt">
      <Connections receipt={receipt} />
      <Tokens receipt={receipt} />
      <Times receipt={receipt} />
      <MadeBy receipt={receipt} />
      <SentMessages receipt={receipt} />
      <SamplingUsed receipt={receipt} />
      <WholeReceipt receipt={receipt} />
    </div>
  );
}

function Tokens({ receipt }: { receipt: Receipt }) {
  const say = words.value;
  const tokens = (name: string) => numberAt(receipt, "tokens", name);
  const written = (value: number | undefined) => (value === undefined ? undefined : number(value));
  const [output, reasoning] = [tokens("output"), tokens("reasoning")];
  const answer = output === undefined ? undefined : output - (reasoning ?? 0);
  return (
    <Group title={say.tokens}>
      <Bar parts={[["prompt", tokens("prompt")], ["reasoning", reasoning], ["answer", answer]]} />
      <Row name={say.prompt} value={written(tokens("prompt"))} mark="prompt" />
      <Row name={say.reused} value={written(tokens("reused"))} isPart />
      <Row name={say.reasoning} value={written(reasoning)} mark="reasoning" />
      <Row name={say.answer} value={written(answer)} mark="answer" />
      <Row name={say.total} value={written(tokens("total"))} />
    </Group>
  );
}

function Times({ receipt }: { receipt: Receipt }) {
  const say = words.value;
  const speed = speedOf(receipt);
  const joules = numberAt(receipt, "joules");
  return (
    <Group title={say.time}>
      <Row name={say.queued} value={timeOf(receipt, "queued")} />
      <Row name={say.readingPrompt} value={timeOf(receipt, "prefill")} />
      <Row name={say.writingAnswer} value={timeOf(receipt, "decode")} />
      <Row name={say.thinkingTime} value={timeOf(receipt, "thinking")} isPart />
      <Row name={say.speed} value={speed === undefined ? undefined : say.tokensPerSecond(number(speed, 1))} />
      <Row name={say.energy} value={joules === undefined ? undefined : say.joules(precise(joules))} />
    </Group>
  );
}

function timeOf(receipt: Receipt, name: string): string | undefined {
  const say = words.value;
  const seconds = numberAt(receipt, "seconds", name);
  if (seconds === undefined) return undefined;
  return seconds < SHORTEST ? say.lessThan(say.seconds(precise(SHORTEST))) : say.seconds(precise(seconds));
}

function Adapter({ adapter }: { adapter: AdapterUsed }) {
  const say = words.value;
  return (
    <>
      <Row name={say.adapter} value={adapterInWords(adapter, say.adapterStates)} />
      <Digest name={`${say.adapter} ${adapter.name}`} value={adapter.digest} />
    </>
  );
}

function MadeBy({ receipt }: { receipt: Receipt }) {
  const say = words.value;
  const ofModel = (name: string) => textAt(receipt, "model", name);
  const engine = ["version", "instruction_set", "cache_type"].map((name) => textAt(receipt, "engine", name));
  const created = textAt(receipt, "created");
  const end = textAt(receipt, "ended", "reason");
  return (
    <Group title={say.madeBy}>
      <Row name={say.model} value={ofModel("name")} />
      <Digest name={say.weights} value={ofModel("weights_digest")} />
      <Digest name={say.packedWeights} value={ofModel("packed_digest")} />
      {adaptersIn(receipt).map((each) => (
        <Adapter key={each.digest} adapter={each} />
      ))}
      <Row name={say.weightsChecked} value={checkOf(receipt)} />
      <Digest name={say.configuration} value={ofModel("configuration_digest")} />
      <Digest name={say.tokenizer} value={ofModel("tokenizer_digest")} />
      <Digest name={say.template} value={ofModel("template_digest")} />
      <Row name={say.engine} value={engine.filter(Boolean).join(" · ")} />
      <Row name={say.created} value={created && moment(created)} />
      <Row name={say.endedBy} value={end && (say.endNames[end] ?? end)} />
    </Group>
  );
}

/** Whether the weights were compared with their digests since the server began. */
function checkOf(receipt: Receipt): string | undefined {
  const checked = at(receipt, "model", "weights_checked");
  return typeof checked !== "boolean" ? undefined : checked ? words.value.checked : words.value.notYetChecked;
}

function SentMessages({ receipt }: { receipt: Receipt }) {
  const messages = at(receipt, "messages");
  if (!Array.isArray(messages)) return null;
  return (
    <Group title={words.value.sent}>
      {messages.map((each, index) => (
        <SentMessage key={index} stated={each} />
      ))}
    </Group>
  );
}

function SentMessage({ stated }: { stated: Json }) {
  const say = words.value;
  if (typeof stated !== "object" || stated === null || Array.isArray(stated)) return null;
  const role = { user: say.you, assistant: say.assistant, system: say.systemPrompt }[String(stated.role)] ?? String(stated.role);
  return <Row name={role} value={say.sentExplained(number(Number(stated.sent ?? 0)), number(Number(stated.refused ?? 0)))} />;
}

function SamplingUsed({ receipt }: { receipt: Receipt }) {
  const say = words.value;
  const sampling = at(receipt, "sampling");
  if (typeof sampling !== "object" || sampling === null || Array.isArray(sampling)) return null;
  return (
    <Group title={say.sampling}>
      {Object.entries(sampling).map(([name, value]) => (
        <Row key={name} name={say.samplingNames[name] ?? name} value={samplingValue(name, value)} />
      ))}
    </Group>
  );
}

/** A seed is a name, not an amount: its digits are not grouped. */
function samplingValue(name: string, value: Json): string {
  if (typeof value !== "number") return JSON.stringify(value);
  return name === "seed" ? String(value) : number(value, 6);
}

function WholeReceipt({ receipt }: { receipt: Receipt }) {
  const say = words.value;
  const text = JSON.stringify(receipt, null, 2);
  return (
    <>
      <details class="whole">
        <summary>{say.wholeReceipt}</summary>
        <pre tabindex={0}>{text}</pre>
      </details>
      <div class="row-of-buttons">
        <Button icon="copy" shown label={say.copy} onClick={() => void copyText(text)} />
        <Button icon="export" shown label={say.download} onClick={() => download("receipt.json", text)} />
      </div>
    </>
  );
}
