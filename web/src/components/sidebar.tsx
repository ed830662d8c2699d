import type { Summary } from "../server";
import { current, keeps, keyWanted, listing, panel, query, runs, show, sidebarShown, startNew } from "../state";
import { words } from "../words";
import { Button, Icon, Mark } from "./icons";

const DAY = 86_400_000;

/** Conversations under the days they were last used. */
export function groupByDay(summaries: Summary[], now: Date): [keyof typeof HEADINGS, Summary[]][] {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  const groups = new Map<keyof typeof HEADINGS, Summary[]>();
  for (const each of summaries) {
    const time = Date.parse(each.updated);
    const group = time >= midnight ? "today" : time >= midnight - DAY ? "yesterday" : time >= midnight - 6 * DAY ? "thisWeek" : "earlier";
    groups.set(group, [...(groups.get(group) ?? []), each]);
  }
  return [...groups];
}

const HEADINGS = { today: true, yesterday: true, thisWeek: true, earlier: true };

export function Sidebar() {
  const say = words.value;
  const { conversations, damaged } = listing.value;
  return (
    <nav class="sidebar" aria-label={say.conversations} hidden={!sidebarShown.value}>
      <div class="brand">
        <Mark />
        <span class="wordmark">Ouvert</span>
        <Button icon="close" class="only-narrow" label={say.hideSidebar} onClick={() => (sidebarShown.value = false)} />
      </div>
      <button type="button" class="new" onClick={startNew}>
        <Icon name="plus" />
        <span>{say.newConversation}</span>
      </button>
      <div class="search">
        <Icon name="search" />
        <input
          id="search"
          type="search"
          aria-label={say.search}
          placeholder={say.searchHint}
          value={query.value}
          onInput={(event) => (query.value = event.currentTarget.value)}
        />
      </div>
      <div class="list" role="region" aria-label={say.conversations} tabindex={0}>
        {!keeps.value && (
          <p class="quiet">
            {say.notKept}{" "}
            <button type="button" class="plain" onClick={() => (keyWanted.value = true)}>
              {say.enterKey}
            </button>
          </p>
        )}
        {keeps.value && conversations.length === 0 && <p class="quiet">{query.value ? say.noResults : say.noConversations}</p>}
        {groupByDay(conversations, new Date()).map(([group, members]) => (
          <section key={group}>
            <h2>{say[group]}</h2>
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
      <footer>
        <Button icon="settings" label={say.settings} shown onClick={() => (panel.value = { kind: "settings" })} />
        <Button icon="keyboard" label={say.shortcuts} onClick={() => (panel.value = { kind: "shortcuts" })} />
      </footer>
    </nav>
  );
}

function Entry({ summary }: { summary: Summary }) {
  const say = words.value;
  const title = summary.title || say.untitled;
  const isCurrent = current.value.id === summary.id;
  return (
    <li class={isCurrent ? "entry current" : "entry"}>
      <button
        type="button"
        class="entry-open"
        aria-current={isCurrent ? "true" : undefined}
        onClick={() => void show(summary.id, query.value ? summary.message : undefined)}
      >
        <span class="entry-title">
          {runs.value.has(summary.id) && <Mark breathing />}
          <span>{title}</span>
        </span>
        {query.value && summary.excerpt && <span class="excerpt">{summary.excerpt}</span>}
      </button>
      <span class="entry-tools">
        <Button icon="edit" label={say.about(say.rename, title)} onClick={() => (panel.value = { kind: "rename", id: summary.id, title })} />
        <Button icon="trash" class="danger" label={say.about(say.delete, title)} onClick={() => (panel.value = { kind: "delete", id: summary.id, title })} />
      </span>
    </li>
  );
}
