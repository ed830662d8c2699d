/** Line icons, drawn for this page on a grid of 24. They say nothing to screen readers: the buttons around them do. */
const LINES = {
  menu: "M4 7h16M4 12h16M4 17h10",
  columns: "M4 5h7v14H4zM13 5h7v14h-7z",
  plus: "M12 5v14M5 12h14",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13M15.5 15.5L20 20",
  settings: "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 1 0 0-5M8 14.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 1 0 0-5",
  keyboard: "M3 7h18v10H3zM7 11h.01M11 11h.01M15 11h.01M8 14h8",
  send: "M12 19V5M6 11l6-6l6 6",
  stop: "M8 8h8v8H8z",
  attach: "M19 11l-7.5 7.5a4.5 4.5 0 0 1-6.4-6.4L13 4.3a3 3 0 0 1 4.2 4.2l-7.8 7.8a1.5 1.5 0 0 1-2.1-2.1L14 7.6",
  copy: "M9 9h10v11H9zM5 15V4h10",
  check: "M5 12.5l4.5 4.5L19 7.5",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  correct: "M4 20l1-4L12 9l3 3L8 19zM14 7l2-2l3 3l-2 2M14 19l2 2l5-5",
  again: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  receipt: "M6 3v18l2-1.4l2 1.4l2-1.4l2 1.4l2-1.4l2 1.4V3l-2 1.4L14 3l-2 1.4L10 3L8 4.4zM9 9h6M9 13h6",
  eye: "M2.5 12c3-5 6-7 9.5-7s6.5 2 9.5 7c-3 5-6 7-9.5 7s-6.5-2-9.5-7M12 9a3 3 0 1 0 0 6a3 3 0 1 0 0-6",
  left: "M14.5 6l-6 6l6 6",
  right: "M9.5 6l6 6l-6 6",
  down: "M6 9.5l6 6l6-6",
  close: "M6 6l12 12M18 6L6 18",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  export: "M12 4v11M7.5 11L12 15.5L16.5 11M5 20h14",
  library: "M5 4h4v16H5zM9 6h4v14H9zM14.5 6.5l3.6-1l3.4 13.4l-3.6 1z",
  agent: "M12 3v3M6 8h12v10H6zM9.5 12h.01M14.5 12h.01M9.5 15.5h5M3 12v3M21 12v3",
  upload: "M12 15.5V4.5M7.5 9L12 4.5L16.5 9M5 20h14",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  shield: "M12 3l7 3v5c0 5-3 8-7 10c-4-2-7-5-7-10V6zM9 12l2.2 2.2L15.5 10",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
};

export type IconName = keyof typeof LINES;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={LINES[name]} />
    </svg>
  );
}

/** The mark: an open ring. */
export function Mark({ breathing = false }: { breathing?: boolean }) {
  return (
    <svg class={breathing ? "mark breathing" : "mark"} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <path d="M23.5 8.5A11 11 0 1 0 26.6 19" />
    </svg>
  );
}
