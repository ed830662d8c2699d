// The Vercel AI SDK: text, a stream, an object, and a tool loop, over Chat Completions and over Responses.
// node ai_sdk.mjs ADDRESS/v1 MODEL-WITH-WORDS MODEL-WITH-CALLS QUESTION  ->  one JSON object on stdout

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false; // they would stand among the output
const [baseURL, speaks, calls, question] = process.argv.slice(2);
const providers = {
  compatible: createOpenAICompatible({ name: "ouvert", baseURL, supportsStructuredOutputs: true }),
  chat: createOpenAI({ baseURL, apiKey: "none" }).chat,
  responses: createOpenAI({ baseURL, apiKey: "none" }).responses,
};
const found = {};
for (const [name, provider] of Object.entries(providers)) {
  const asked = { model: provider(speaks), prompt: question, temperature: 0, maxOutputTokens: 24, maxRetries: 0 };
  const whole = await generateText(asked);
  const stream = streamText(asked);
  let streamed = "";
  for await (const piece of stream.textStream) streamed += piece;
  const schema = z.object({ yes: z.boolean() });
  const { object } = await generateObject({ ...asked, maxOutputTokens: 60, schema });
  const decided = [];
  const decide = tool({
    description: "decides",
    inputSchema: schema,
    execute: async ({ yes }) => {
      decided.push(yes);
      return "decided";
    },
  });
  await generateText({
    model: provider(calls),
    prompt: question,
    tools: { decide },
    toolChoice: "required",
    stopWhen: stepCountIs(1),
    maxOutputTokens: 400,
    maxRetries: 0,
    seed: 1,
  });
  found[name] = { whole: whole.text, usage: whole.usage, streamed, finish: await stream.finishReason, object, decided };
}
console.log(JSON.stringify(found));
