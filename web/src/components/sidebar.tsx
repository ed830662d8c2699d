import type { Summary } from "../server/conversations";
import { ADDRESS, isComparing } from "../state/comparing";
import { listing, searchQuery } from "../state/conversation-list";
import { show, startNew } from "../state/conversations";
import { current, generations } from "../state/open-conversations";
import { compares, isKeyNeeded, mayUseAgents, mayUseDocuments, storesConversations } from "../state/session";
import { hideSidebarIfNarrow, panel, sidebarShown } from "../state/view";
import { words } from "../words";
import { acting } from "../words/agents";
import { compared } from "../words/compare";
import { papers } from "../words/documents";
import { Button } from "./button";
import { Icon, Mark } from "./icons";

/** The stored conversations. */
export function Sidebar() {
  const say = words.value;
  return (
    <nav class="sidebar" aria-label={say.conversations} hidden={!sidebarShown.value}>
      <div class="brand">
        <Mark />
        <span class="wordmark">Ouvert</span>
        <Button icon="close" class="only-narrow" label={say.hideSidebar} onClick={() => (sidebarShown.value = false)} />
      </div>
      <button type="button" class="new" onClick={() => startNew()}>
        <Icon name="plus" />
        <span>{say.newConversation}</span>
      </button>
      {compares.value && (
        <a class="new" href={ADDRESS} aria-current={isComparing.value ? "page" : undefined} onClick={hideSidebarIfNarrow}>
          <Icon name="columns" />
          <span>{compared.value.sideBySide}</span>
        </a>
      )}
      <Desk />
      <Search />
      <List />
      <footer>
        <Button icon="settings" label={say.settings} shown onClick={() => (panel.value = { kind: "settings" })} />
        <Button icon="keyboard" label={say.shortcuts} onClick={() => (panel.value = { kind: "shortcuts" })} />
      </footer>
    </nav>
  );
}

/** What else there is beside conversations. */
function Desk() {
  const open = (kind: "documents" | "runs") => {
    hideSidebarIfNarrow();
    panel.value = { kind };
  };
  if (!mayUseDocuments.value && !mayUseAgents.value) return null;
  return (
    <div class="desk">
      {mayUseDocuments.value && (
        <button type="button" onClick={() => open("documents")}>
          <Icon name="library" />
          <span>{papers.value.documents}</span>
        </button>
      )}
      {mayUseAgents.value && (
        <button type="button" onClick={() => open("runs")}>
          <Icon name="agent" />
          <span>{acting.value.runs}</span>
        </button>
      )}
    </div>
  );
}

function Search() {
  const say = words.value;
  return (
    <div class="search">
      <Icon name="search" />
      <input
        id="search"
        type="search"
        aria-label={say.search}
        placeholder={say.searchHint}
        value={searchQuery.value}
        onInput={(event) => (searchQuery.value = event.currentTarget.value)}
      />
    </div>
  );
}

function List() {
  const say = words.value;
  const { conversations, damaged } = listing.value;
  return (
    <div class="list" role="region" aria-label={say.conversations} tabindex={0}>
      {!storesConversations.value && <NothingStored />}
      {storesConversations.value && conversations.length === 0 && <p class="quiet">{searchQuery.value ? say.noResults : say.noConversations}</p>}
      {groupByDay(conversations, new Date()).map(([day, members]) => (
        <section key={day}>
          <h2>{say[day]}</h2>
          <ul>
            {members.map((each) => (
              <Entry key={each.id} summary={each} />
            ))}
          </ul>
        </section>
      ))}
      {damaged.length > 0 && (
        <p class="quiet damaged" title={damaged.map((each) => each.fault).join("\n")}>
          <Icon name="warning" /> {say.damaged(damaged.length)}
        </p>
      )}
    </div>
  );
}

function NothingStored() {
  const say = words.value;
  return (
    <p class="quiet">
      {say.notKept}{" "}
      <button type="button" class="plain" onClick={() => (isKeyNeeded.value = true)}>
        {say.enterKey}
      </button>
    </p>
  );
}

const DAY = 86_400_000; // milliseconds

type DayName = "today" | "yesterday" | "thisWeek" | "earlier";

/** Conversations under the days when they were last used. */
export function groupByDay(summaries: Summary[], now: Date): [DayName, Summary[]][] {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  const groups = new Map<DayName, Summary[]>();
  for (const each of summaries) {
    const time = Date.parse(each.updated);
    const day = time >= midnight ? "today" : time >= midnight - DAY ? "yesterday" : time >= midnight - 6 * DAY ? "thisWeek" : "earlier";
    groups.set(day, [...(groups.get(day) ?? []), each]);
  }
  return [...groups];
}

function Entry({ summary }: { summary: Summary }) {
  const say = words.value;
  const { id, message, excerpt } = summary;
  const title = summary.title || say.untitled;
  const isCurrent = !isComparing.value && current.value.id === id;
  const isSearch = searchQuery.value !== "";
  return (
    <li class={isCurrent ? "entry current" : "entry"}>
      <button
        type="button"
        class="entry-open"
        aria-current={isCurrent ? "true" : undefined}
        onClick={() => void show(id, isSearch ? message : undefined)}
      >
        <span class="entry-title">
          {generations.value.has(id) && <Mark breathing />}
          <span>{title}</span>
        </span>
        {isSearch && excerpt && <span class="excerpt">{excerpt}</span>}
      </button>
      <span class="entry-tools">
        <Button icon="edit" label={say.about(say.rename, title)} onClick={() => (panel.value = { kind: "rename", id, title })} />
        <Button icon="trash" class="danger" label={say.about(say.delete, title)} onClick={() => (panel.value = { kind: "delete", id, title })} />
      </span>
    </li>
  );
}
