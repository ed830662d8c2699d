import type { ComponentChildren } from "preact";
import { find, type Json, type Receipt } from "../conversation";
import { at, connectionsOf, numberAt, speedOf, textAt } from "../receipt";
import { current, panel } from "../state";
import { moment, number, precise, words } from "../words";
import { copyText, download } from "./copy";
import { Button, Icon } from "./icons";
import { Sheet } from "./sheet";

export function ReceiptPanel({ message }: { message: string }) {
  const receipt = find(current.value, message)?.receipt;
  return (
    <Sheet title={words.value.receiptTitle} onClose={() => (panel.value = null)}>
      {receipt ? <Contents receipt={receipt} /> : <p>{words.value.noReceipt}</p>}
    </Sheet>
  );
}

const SHORTEST = 0.01; // seconds; whatever is shorter nobody feels

function Contents({ receipt }: { receipt: Receipt }) {
  const say = words.value;
  const seconds = (name: string) => {
    const value = numberAt(receipt, "seconds", name);
    if (value === undefined) return undefined;
    return value < SHORTEST ? say.lessThan(say.seconds(precise(SHORTEST))) : say.seconds(precise(value));
  };
  const tokens = (name: string) => {
    const value = numberAt(receipt, "tokens", name);
    return value === undefined ? undefined : number(value);
  };
  const speed = speedOf(receipt);
  const joules = numberAt(receipt, "joules");
  const messages = at(receipt, "messages");
  const sampling = at(receipt, "sampling");
  const created = textAt(receipt, "created");
  const text = JSON.stringify(receipt, null, 2);
  return (
    <div class="receipt">
      <Left receipt={receipt} />
      <Group title={say.tokens}>
        <Bar
          parts={[
            ["prompt", numberAt(receipt, "tokens", "prompt")],
            ["reasoning", numberAt(receipt, "tokens", "reasoning")],
            ["answer", answerTokens(receipt)],
          ]}
        />
        <Row name={say.prompt} value={tokens("prompt")} mark="prompt" />
        <Row name={say.reused} value={tokens("reused")} isPart />
        <Row name={say.reasoning} value={tokens("reasoning")} mark="reasoning" />
        <Row name={say.answer} value={answerTokens(receipt) === undefined ? undefined : number(answerTokens(receipt) ?? 0)} mark="answer" />
        <Row name={say.total} value={tokens("total")} />
      </Group>
      <Group title={say.time}>
        <Row name={say.queued} value={seconds("queued")} />
        <Row name={say.readingPrompt} value={seconds("prefill")} />
        <Row name={say.writingAnswer} value={seconds("decode")} />
        <Row name={say.thinkingTime} value={seconds("thinking")} isPart />
        <Row name={say.speed} value={speed === undefined ? undefined : say.tokensPerSecond(number(speed, 1))} />
        <Row name={say.energy} value={joules === undefined ? undefined : say.joules(precise(joules))} />
      </Group>
      <Group title={say.madeBy}>
        <Row name={say.model} value={textAt(receipt, "model", "name")} />
        <Digest name={say.weights} value={textAt(receipt, "model", "weights_digest")} />
        <Digest name={say.packedWeights} value={textAt(receipt, "model", "packed_digest")} />
        <Row name={say.weightsChecked} value={checkOf(receipt)} />
        <Digest name={say.configuration} value={textAt(receipt, "model", "configuration_digest")} />
        <Digest name={say.tokenizer} value={textAt(receipt, "model", "tokenizer_digest")} />
        <Digest name={say.template} value={textAt(receipt, "model", "template_digest")} />
        <Digest name={say.adapter} value={textAt(receipt, "model", "adapter_digest")} />
        <Row
          name={say.engine}
          value={[textAt(receipt, "engine", "version"), textAt(receipt, "engine", "instruction_set"), textAt(receipt, "engine", "cache_type")]
            .filter(Boolean)
            .join(" · ")}
        />
        <Row name={say.created} value={created && moment(created)} />
        <Row name={say.endedBy} value={endOf(receipt)} />
      </Group>
      {Array.isArray(messages) && (
        <Group title={say.sent}>
          {messages.map((each, index) => (
            <Sent key={index} stated={each} />
          ))}
        </Group>
      )}
      {typeof sampling === "object" && sampling !== null && !Array.isArray(sampling) && (
        <Group title={say.sampling}>
          {Object.entries(sampling).map(([name, value]) => (
            <Row key={name} name={say.samplingNames[name] ?? name} value={samplingValue(name, value)} />
          ))}
        </Group>
      )}
      <details class="whole">
        <summary>{say.wholeReceipt}</summary>
        <pre tabindex={0}>{text}</pre>
      </details>
      <div class="row-of-buttons">
        <Button icon="copy" shown label={say.copy} onClick={() => void copyText(text)} />
        <Button icon="export" shown label={say.download} onClick={() => download("receipt.json", text)} />
      </div>
    </div>
  );
}

function endOf(receipt: Receipt): string | undefined {
  const reason = textAt(receipt, "ended", "reason");
  return reason === undefined ? undefined : (words.value.endNames[reason] ?? reason);
}

/** Whether the weights that computed were compared with their digests since the server began. */
function checkOf(receipt: Receipt): string | undefined {
  const checked = at(receipt, "model", "weights_checked");
  return typeof checked !== "boolean" ? undefined : checked ? words.value.checked : words.value.notYetChecked;
}

/** A seed and ids are names, not amounts: their digits are not grouped. */
function samplingValue(name: string, value: Json): string {
  if (typeof value !== "number") return JSON.stringify(value);
  return name === "seed" ? String(value) : number(value, 6);
}

function answerTokens(receipt: Receipt): number | undefined {
  const output = numberAt(receipt, "tokens", "output");
  return output === undefined ? undefined : output - (numberAt(receipt, "tokens", "reasoning") ?? 0);
}

/** The sentence people open a receipt for. It is only said where the receipt states it. */
function Left({ receipt }: { receipt: Receipt }) {
  const say = words.value;
  const connections = connectionsOf(receipt);
  if (!connections) {
    return (
      <div class="left unknown">
        <Icon name="warning" />
        <p>{say.leftUnknown}</p>
      </div>
    );
  }
  const { attempted, allowed, denied } = connections;
  return (
    <div class={allowed === 0 ? "left nothing" : "left something"}>
      <Icon name={allowed === 0 ? "shield" : "warning"} />
      <div>
        <p>{allowed === 0 ? say.leftNothing : say.leftSomething(number(allowed))}</p>
        <dl aria-label={say.connections}>
          <Count name={say.attempted} value={attempted} />
          <Count name={say.allowed} value={allowed} />
          <Count name={say.denied} value={denied} />
        </dl>
        <small>{say.leftScope}</small>
      </div>
    </div>
  );
}

const Count = ({ name, value }: { name: string; value: number }) => (
  <div>
    <dd>{number(value)}</dd>
    <dt>{name}</dt>
  </div>
);

function Group({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section>
      <h3>{title}</h3>
      {children}
    </section>
  );
}

function Row(props: { name: string; value: string | undefined; isPart?: boolean; mark?: string }) {
  if (!props.value) return null;
  return (
    <div class={props.isPart ? "fact part" : "fact"}>
      <span>
        {props.mark && <i class={`key ${props.mark}`} />}
        {props.name}
      </span>
      <span>{props.value}</span>
    </div>
  );
}

/** Long digests show their ends; the whole one is in the title and on the clipboard. */
function Digest({ name, value }: { name: string; value: string | undefined }) {
  if (!value) return null;
  return (
    <div class="fact">
      <span>{name}</span>
      <span class="digest">
        <code title={value}>{`${value.slice(0, 15)}…${value.slice(-6)}`}</code>
        <Button icon="copy" label={words.value.about(words.value.copy, name)} onClick={() => void copyText(value)} />
      </span>
    </div>
  );
}

function Sent({ stated }: { stated: Json }) {
  const say = words.value;
  if (typeof stated !== "object" || stated === null || Array.isArray(stated)) return null;
  const role = { user: say.you, assistant: say.assistant, system: say.systemPrompt }[String(stated.role)] ?? String(stated.role);
  return <Row name={role} value={say.sentExplained(number(Number(stated.sent ?? 0)), number(Number(stated.refused ?? 0)))} />;
}

function Bar({ parts }: { parts: [string, number | undefined][] }) {
  const total = parts.reduce((sum, [, value]) => sum + (value ?? 0), 0);
  if (total === 0) return null;
  let x = 0;
  return (
    <svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
      {parts.map(([name, value]) => {
        const width = ((value ?? 0) / total) * 100;
        x += width;
        return <rect key={name} class={name} x={x - width} width={width} height="4" />;
      })}
    </svg>
  );
}
