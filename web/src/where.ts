/** Where the page is opened: what may be promised about what is written depends on it. */

/** On the machine that serves it; on another one, over plain (`open`) or encrypted HTTP; or nobody can tell. */
export type Where = "here" | "open" | "encrypted" | "unknown";

/** What the server knows of the connection (docs/guides/web.md). */
export type OpenedFrom = "this_machine" | "network_plain" | "network_tls" | "unknown";

const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** From what the server says and what the browser's address shows. Nothing is promised before the server has spoken. */
export function whereIs(openedFrom: OpenedFrom | undefined, { hostname, protocol }: { hostname: string; protocol: string }): Where {
  if (openedFrom === "this_machine") return "here";
  if (protocol === "https:") return "encrypted";
  if (openedFrom === undefined || (openedFrom === "unknown" && LOOPBACK.test(hostname))) return "unknown";
  return "open";
}
