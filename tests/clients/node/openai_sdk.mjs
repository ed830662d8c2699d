// OpenAI's SDK for JavaScript: an answer, a stream, Responses.
// node openai_sdk.mjs ADDRESS/v1 MODEL QUESTION  ->  one JSON object on stdout

import OpenAI from "openai";

const [baseURL, model, question] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const asked = { model, messages: [{ role: "user", content: question }], temperature: 0, max_tokens: 24 };
const whole = await client.chat.completions.create(asked);
let streamed = "";
for await (const piece of await client.chat.completions.create({ ...asked, stream: true })) {
  streamed += piece.choices[0]?.delta.content ?? "";
}
const response = await client.responses.create({ model, input: question, temperature: 0, max_output_tokens: 24 });
console.log(JSON.stringify({ whole: whole.choices[0].message.content, streamed, response: response.output_text }));
