// Names and times as people read them.

const roles = {
  owner: "Owner", admin: "Administrator", finance: "Finance", manager: "Manager", analyst: "Analyst", developer: "Developer",
  system_administrator: "System administrator", operations: "Operations", security: "Security", architect: "Architect", support: "Support",
};

export const roleName = (role) => roles[role] || String(role || "").replaceAll("_", " ");

const scopes = {
  inference: ["Make API keys that call models", "Calls cost money, within your budgets and limits"],
  "models:read": ["See the models that you may use"],
  "usage:read": ["See usage and what it cost"],
  "keys:read": ["See API keys", "Never their secrets"],
  "keys:write": ["Create, rotate and revoke API keys"],
  "members:read": ["See members and their roles"],
  "members:write": ["Invite, change and remove members"],
  "projects:read": ["See projects"],
  "projects:write": ["Create and change projects"],
  "budgets:read": ["See budgets"],
  "budgets:write": ["Create and change budgets"],
  "billing:read": ["See invoices and billing details"],
  "billing:write": ["Change billing details and issue invoices"],
  "settings:read": ["See settings of the organization"],
  "settings:write": ["Change settings of the organization"],
  "analytics:read": ["See reports"],
  "audit:read": ["Read the audit log"],
  platform: ["Administer the platform", "Organizations, models, backends and prices"],
  openid: ["Know who you are"],
  profile: ["Know your name"],
  email: ["Know your e-mail address"],
  offline_access: ["Stay connected while you are away"],
};

// scopeText is what a scope allows, and what to bear in mind.
export const scopeText = (scope) => scopes[scope] || [scope];

// when is a moment: "5 minutes ago", else a date.
export function when(text) {
  const at = new Date(text);
  const seconds = (Date.now() - at.getTime()) / 1000;
  if (seconds < 60 && seconds > -5) return "just now";
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  if (seconds > 0 && seconds < 3600) return format.format(-Math.round(seconds / 60), "minute");
  if (seconds > 0 && seconds < 86400) return format.format(-Math.round(seconds / 3600), "hour");
  return date(at);
}

// language is that of dates; the page's own until the profile is known.
let language;
let zone;

export function speak(locale, timeZone) {
  try {
    new Intl.DateTimeFormat(locale || undefined, { timeZone: timeZone || undefined });
    [language, zone] = [locale || undefined, timeZone || undefined];
  } catch {
    // The browser does not know them: it goes on with its own.
  }
}

export const date = (at) => new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short", timeZone: zone }).format(new Date(at));

const systems = [[/iPhone|iPad/, "iOS"], [/Android/, "Android"], [/Windows/, "Windows"], [/Mac OS X|Macintosh/, "macOS"], [/CrOS/, "ChromeOS"], [/Linux/, "Linux"]];
const browsers = [[/Edg(e|A|iOS)?\//, "Edge"], [/OPR\//, "Opera"], [/SamsungBrowser/, "Samsung Internet"], [/Firefox|FxiOS/, "Firefox"], [/Chrome|CriOS/, "Chrome"], [/Safari/, "Safari"]];

// device is what calls itself so.
export function device(agent = "") {
  const system = systems.find(([known]) => known.test(agent))?.[1];
  const browser = browsers.find(([known]) => known.test(agent))?.[1];
  if (browser) return system ? `${browser} on ${system}` : browser;
  return agent.split(/[ /]/)[0] || "Unknown program";
}
