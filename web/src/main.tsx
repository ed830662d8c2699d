import { effect } from "@preact/signals";
import { render } from "preact";
import "@fontsource-variable/hanken-grotesk/wght.css";
import "@fontsource-variable/jetbrains-mono/wght.css";
import "./base.css";
import "./style.css";
import "./look.css";
import "./compare.css";
import "./documents.css";
import "./agents.css";
import { App } from "./components/app";
import { isComparing } from "./state/comparing";
import { connect } from "./state/connecting";
import { show } from "./state/conversations";
import { language } from "./words";

effect(() => {
  document.documentElement.lang = language.value;
  localStorage.setItem("ouvert.language", language.value);
});

const root = document.querySelector("#app");
if (root) render(<App />, root);
void connect().then(() => {
  if (location.hash.length > 1 && !isComparing.value) void show(location.hash.slice(1));
});
