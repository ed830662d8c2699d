/** What was brought from one prompt's run into another's, layer by token: the effect of each, what is noise greyed out. */
import { Figure } from "../figures/figure";
import { Grid, type Cell } from "../figures/grid";
import type { PatchGrid } from "../patch";
import { number } from "../words/language";
import { look } from "../words/look";
import { quote } from "./quote";

export function PatchGridView({ grid }: { grid: PatchGrid }) {
  const say = look.value;
  const order = grid.layers.map((_, n) => grid.layers.length - 1 - n); // the last layer on top
  const names = grid.columns.map((each) => (grid.over === "heads" ? each.replace("head", say.head) : each));
  const cell = (row: number, column: number): Cell => {
    const at = order[row] ?? 0;
    const effect = grid.effects[at]?.[column] ?? 0;
    const isNoise = !isBeyond(grid, at, column);
    return { text: number(effect, 2), share: effect, said: saidOf(grid, at, column, names[column] ?? ""), isNoise };
  };
  return (
    <>
      <Alignment grid={grid} />
      <Figure title={say.patchTitle(say.patchValues[grid.over] ?? grid.over, say.patchDirections[grid.direction])} finding={findingOf(grid)} table={() => tableOf(grid, names)}>
        <Grid name={say.patchName} rows={order.map((n) => say.layerShort(number(grid.layers[n] ?? 0)))} columns={names} cell={cell} narrow at={strongestPlace(grid, order)} />
      </Figure>
    </>
  );
}

const isBeyond = ({ noise }: PatchGrid, layer: number, column: number) => noise === null || noise.beyond[layer]?.[column] === true;

function saidOf(grid: PatchGrid, at: number, column: number, name: string): string {
  const say = look.value;
  const [effect, layer] = [number(grid.effects[at]?.[column] ?? 0, 2), number(grid.layers[at] ?? 0)];
  const low = grid.noise?.low[at]?.[column];
  const high = grid.noise?.high[at]?.[column];
  const cell = say.patchCell(layer, grid.over === "heads" ? name : quote(name), effect);
  if (low === undefined || high === undefined) return cell;
  return `${cell} ${isBeyond(grid, at, column) ? say.beyondNoise(number(low, 2), number(high, 2)) : say.withinNoise(number(low, 2), number(high, 2))}`;
}

/** The strongest effect beyond the noise: [layer, column], or undefined where nothing is. */
export function strongestOf(grid: PatchGrid): [number, number] | undefined {
  let found: [number, number] | undefined;
  grid.effects.forEach((row, layer) =>
    row.forEach((effect, column) => {
      if (isBeyond(grid, layer, column) && (!found || Math.abs(effect) > Math.abs(grid.effects[found[0]]?.[found[1]] ?? 0))) found = [layer, column];
    }),
  );
  return found;
}

function strongestPlace(grid: PatchGrid, order: number[]) {
  const strongest = strongestOf(grid);
  return strongest ? { row: order.indexOf(strongest[0]), column: strongest[1] } : { row: 0, column: 0 };
}

function findingOf(grid: PatchGrid): string {
  const say = look.value;
  const strongest = strongestOf(grid);
  const all = grid.effects.length * (grid.effects[0]?.length ?? 0);
  const beyond = grid.effects.flatMap((row, layer) => row.map((_, column) => isBeyond(grid, layer, column))).filter(Boolean).length;
  const says = say.patchMeaning[grid.direction];
  if (!strongest) return `${say.patchNothing} ${says}`;
  const [layer, column] = strongest;
  const name = grid.columns[column] ?? "";
  return `${say.patchFinding(number(grid.layers[layer] ?? 0), grid.over === "heads" ? name.replace("head", say.head) : quote(name), number(grid.effects[layer]?.[column] ?? 0, 2), number(beyond), number(all))} ${says}`;
}

function tableOf(grid: PatchGrid, names: string[]) {
  const say = look.value;
  return { columns: [say.layer, ...names], rows: grid.layers.map((layer, n) => [layer, ...(grid.effects[n] ?? []).map((each) => number(each, 3))]).reverse() };
}

/** Both prompts, token under token, and where they differ. */
function Alignment({ grid }: { grid: PatchGrid }) {
  const say = look.value;
  const metric = grid.metric.tokens?.map((each) => quote(each.text)).join(" − ") ?? grid.metric.kind;
  return (
    <div class="table-scroller" role="region" aria-label={say.aligned} tabindex={0}>
      <table class="aligned">
        <caption>{say.alignedExplained(metric, number(grid.clean.metric, 2), number(grid.corrupted.metric, 2))}</caption>
        <tbody>
          {([["clean", 0], ["corrupted", 1]] as const).map(([which, side]) => (
            <tr key={which}>
              <th scope="row">{say.prompts[which]}</th>
              {grid.alignment.map((pair, n) => {
                const differs = grid.clean.ids[pair[0]] !== grid.corrupted.ids[pair[1]];
                const text = grid[which].tokens[pair[side]] ?? "";
                return <td key={n}>{differs ? <strong>{text}</strong> : text}</td>;
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
