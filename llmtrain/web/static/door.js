// The way in: the key stands behind the # of the link, which no browser sends or logs; here it becomes a cookie.

const part = (id) => document.getElementById(id);

function closed(title, reason) {
  part("title").textContent = title;
  part("reason").textContent = reason;
  part("address").textContent = `${location.origin}/#k=`;
  part("remedy").hidden = false;
}

async function enter(token) {
  const answer = await fetch("/enter", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (answer.ok) {
    location.reload();
    return;
  }
  const { error } = await answer.json();
  closed("This link does not open the page", error);
}

const token = new URLSearchParams(location.hash.slice(1)).get("k");
history.replaceState(null, "", "/"); // the key stays in no history
addEventListener("hashchange", () => location.reload()); // a link pasted into this very tab

if (token === null) {
  closed("You are not in yet", "This page opens for those who have a link to it.");
} else {
  enter(token).catch(() =>
    closed("No answer", "The server does not answer. It may have ended; then nothing here was lost."),
  );
}
