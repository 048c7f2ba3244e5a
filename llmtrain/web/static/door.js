// The way in: the key stands behind the # of the link, which no browser sends or logs; here it becomes a cookie.

const part = (id) => document.getElementById(id);

function closed(title, reason) {
  part("title").textContent = title;
  part("reason").textContent = reason;
  part("address").textContent = `${location.origin}/#k=`;
  part("remedy").hidden = false;
}

/** Whether the server knows this browser. A browser that followed a link from another site kept its cookie back. */
const known = async () => (await fetch("/api/me")).ok;

/** Why `token` does not open the door; null when it does. */
async function enter(token) {
  const answer = await fetch("/enter", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  return answer.ok ? null : (await answer.json()).error;
}

async function open(token) {
  const refusal = token === null ? "This page opens for those who have a link to it." : await enter(token);
  if (refusal === null || (await known())) {
    location.reload();
  } else {
    closed(token === null ? "You are not in yet" : "This link does not open the page", refusal);
  }
}

const token = new URLSearchParams(location.hash.slice(1)).get("k");
history.replaceState(null, "", "/"); // the key stays in no history
addEventListener("hashchange", () => location.reload()); // a link pasted into this very tab

open(token).catch(() =>
  closed("No answer", "The server does not answer. It may have ended; then nothing here was lost."),
);
