// The browser's part of the chat: the conversation on the page and the list of all. Runs after `chat_kept.js` and
// before `chat_page.js`, all three as the list component's `js_on_load`: `element` is its root, `props.value` the
// conversation as the server last knew it, `trigger` calls the server.
const CURRENT = 'lt-current'; // in the session storage: what to open again when the page is loaded anew
const texts = props.texts[navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'];
const list = element.querySelector('.lt-kept');
const hint = element.querySelector('.lt-hint');
let current = null; // the conversation on the page, as kept
let keeps = true;
const deleted = new Set();
const undo = element.querySelector('.lt-undo');
const forks = new Map(); // by conversation, the id under which this window goes on with it

// --- The conversation on the page ---------------------------------------------------------------------------
// What the server sends has the pictures that are new to it only; the rest are here.
async function receive({ left, ...sent }) {
  sent.id = forks.get(sent.id) ?? sent.id;
  if (left) return receiveLeft(sent);
  if (sent.answer !== undefined) return receivePart(sent);
  const before = current?.id === sent.id ? current : keeps ? await find(sent.id) : null;
  const pictures = { ...before?.pictures, ...sent.pictures };
  const same = JSON.stringify(before?.messages) === JSON.stringify(sent.messages);
  current = { ...sent, pictures, used: same ? before.used : Date.now() };
  if (sent.messages.length) {
    sessionStorage.setItem(CURRENT, sent.id);
    if (keeps && !same && !deleted.has(sent.id)) await keepOrFork();
    if (sent.messages.length > (before?.messages.length ?? 0)) undo.replaceChildren(); // a question, not a vote
  } else {
    sessionStorage.removeItem(CURRENT);
    if (before) await removeUnlessChanged(sent.id);
  }
  await show();
  others.postMessage('changed');
}

// What there is of the answer that is being written, should the page be closed before it is whole.
async function receivePart({ id, answer }) {
  if (current?.id !== id || deleted.has(id) || !current.messages.at(-1)?.unfinished) return;
  const messages = [...current.messages.slice(0, -1), { ...current.messages.at(-1), content: answer }];
  current = { ...current, messages };
  if (keeps) await keepOrFork();
}

// Where another window went on with the same conversation, what this one writes becomes a conversation of its own.
async function keepOrFork() {
  if (await keep(current)) return;
  const fork = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  forks.set(current.id, fork);
  trigger('fork', { id: current.id, fork });
  current = { ...current, id: fork };
  await keep(current);
  sessionStorage.setItem(CURRENT, fork);
  tell(texts.lt_forked, 'lt-note');
}

// An answer that was cut off because another conversation was opened, or this one deleted.
async function receiveLeft(sent) {
  if (keeps && !deleted.has(sent.id)) await keep({ ...sent, used: Date.now() });
  await show();
}

async function reopen(id) {
  const kept = await find(id);
  if (!kept) return show();
  forks.delete(id);
  revisions.set(id, kept.revision);
  const messages = structuredClone(kept.messages);
  for (const part of pictureParts(messages)) part.image_url.url = kept.pictures[part.image_url.url] ?? '';
  trigger('reopen', { id, messages });
}

// --- The list -----------------------------------------------------------------------------------------------
function button(className, label, text) {
  const made = document.createElement('button');
  made.className = className;
  made.textContent = text;
  if (label) made.setAttribute('aria-label', label);
  if (label) made.title = label;
  return made;
}

async function show() {
  const kept = keeps ? await all() : [];
  const focused = list.contains(document.activeElement) && document.activeElement.closest('li')?.dataset.id;
  list.replaceChildren(...kept.map(({ id, title }) => {
    const item = document.createElement('li');
    item.dataset.id = id;
    const open = button('lt-open', '', title);
    open.title = title;
    if (id === current?.id) open.setAttribute('aria-current', 'true');
    item.append(open, button('lt-delete', texts.lt_delete.replace('{title}', title), '×'));
    return item;
  }));
  if (focused) list.querySelector(`li[data-id="${focused}"] .lt-open`)?.focus();
  hint.textContent = keeps ? texts.lt_none_kept : texts.lt_not_kept;
  hint.hidden = keeps && kept.length > 0;
}

list.addEventListener('click', async (event) => {
  const id = event.target.closest('li')?.dataset.id;
  if (!id) return;
  if (event.target.matches('.lt-delete')) {
    const [gone, wasOpen] = [await find(id), id === current?.id];
    deleted.add(id);
    await remove(id);
    if (wasOpen) trigger('fresh');
    await show();
    if (gone) offerUndo(gone, wasOpen);
    others.postMessage('changed');
  } else {
    closePanels();
    if (id !== current?.id) await reopen(id);
  }
});

function offerUndo(gone, wasOpen) {
  const back = button('lt-take-back', '', texts.lt_undo);
  back.addEventListener('click', async () => {
    undo.replaceChildren();
    deleted.delete(gone.id);
    await restore(gone);
    if (wasOpen && !current?.messages.length) await reopen(gone.id);
    await show();
    list.querySelector(`li[data-id="${gone.id}"] .lt-open`)?.focus();
    others.postMessage('changed');
  });
  const said = document.createElement('span');
  said.textContent = texts.lt_deleted.replace('{title}', gone.title);
  said.title = gone.title;
  undo.replaceChildren(said, back);
  back.focus();
}

// --- Begin --------------------------------------------------------------------------------------------------
const others = new BroadcastChannel('lt-conversations'); // the same list in another tab
others.onmessage = () => show();
let turn = Promise.resolve();
watch('value', () => {
  const sent = props.value;
  if (sent?.id) turn = turn.then(() => receive(sent)).catch(console.error);
});
// A browser may bring a page back from its memory (the back button), when the server has forgotten it.
window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
opened.catch(() => { keeps = false; }).then(async () => {
  await show();
  const last = sessionStorage.getItem(CURRENT);
  if (last && keeps) await reopen(last);
});
