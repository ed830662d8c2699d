/** Server-sent events, as far as a stream of chat chunks needs them: the `data` fields. Comments and other fields are ignored. */
export class EventStream {
  private rest = "";
  private data: string[] = [];

  /** The data of each event that `text` completes. Lines end with \n, \r\n or \r. */
  push(text: string): string[] {
    const complete: string[] = [];
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (this.data.length > 0) complete.push(this.data.join("\n"));
        this.data = [];
      } else if (line.startsWith("data:")) {
        this.data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
    return complete;
  }
}
