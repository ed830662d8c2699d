import { Icon, type IconName } from "./icons";

interface ButtonProps {
  icon: IconName;
  label: string;
  onClick: () => void;
  shown?: boolean; // with the label as text
  class?: string;
  disabled?: boolean;
  expanded?: boolean;
}

/** Without `shown`, the label is for screen readers and for who points at the icon. */
export function Button({ icon, label, onClick, shown = false, disabled = false, expanded, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      class={`button ${rest.class ?? ""}`}
      onClick={onClick}
      disabled={disabled}
      {...(shown ? {} : { "aria-label": label, title: label })}
      {...(expanded === undefined ? {} : { "aria-expanded": expanded })}
    >
      <Icon name={icon} />
      {shown && <span>{label}</span>}
    </button>
  );
}
