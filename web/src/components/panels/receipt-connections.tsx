import type { Receipt } from "../../conversation";
import { connectionsOf } from "../../receipt";
import { number, words } from "../../words";
import { Icon } from "../icons";

/** What left the machine: people open a receipt to read it. It is said only if the receipt states it. */
export function Connections({ receipt }: { receipt: Receipt }) {
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
