/** The page connects to its server: first who asks, and from where; then what may be shown to them. */
import { getSession } from "../server/session";
import { followAddress } from "./comparing";
import { refreshList } from "./conversation-list";
import { lookForFetches } from "./fetching";
import { refreshModels } from "./models";
import { showError } from "./notices";
import { isKeyNeeded, session } from "./session";

export async function connect(): Promise<void> {
  try {
    session.value = await getSession();
  } catch (problem) {
    showError(problem);
  }
  if (session.value?.needs_key) isKeyNeeded.value = true;
  else await Promise.all([refreshModels(), refreshList(), lookForFetches(), followAddress()]);
}
