// The browser's part of the chat: the conversation on the page and the list of all. Runs after `chat_kept.js` and
// before `chat_page.js`, all three as the list component's `js_on_load`: `element` is its root, `props.value` the
// conversation as the server last knew it, `trigger` calls the server.
const CURRENT = 'lt-current'; // in the session storage: what to open again when the page is loaded anew
const texts = props.texts[navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'];
const list = element.querySelector('.lt-kept');
const hint = element.querySelector('.lt-hint');
let current = null; // the conversation on the page, as kept
let newest = 0; // the highest number of a conversation that was on this page
let keeps = true;
const undo = element.querySelector('.lt-undo');
let untold = '';
let buried = null; // the id of what was open here until another window deleted it
const forks = new Map(); // by conversation, the id under which this window goes on with it

// --- The conversation on the page ---------------------------------------------------------------------------
// What the server sends has the pictures that are new to it only; the rest are here.
async function receive({ left, number = newest, ...sent }) { // a part of an answer has no number
  sent.id = forks.get(sent.id) ?? sent.id;
  if (left || number < newest) return receiveLeft(sent); // the next conversation's message has overtaken it
  newest = number;
  if (sent.answer !== undefined) return receivePart(sent);
  const before = current?.id === sent.id ? current : null;
  const kept = keeps ? await find(sent.id) : before;
  const same = JSON.stringify(kept?.messages) === JSON.stringify(sent.messages);
  const pictures = { ...before?.pictures, ...kept?.pictures, ...sent.pictures };
  current = { ...sent, pictures, copy: kept?.copy ?? before?.copy, used: same ? kept.used : Date.now() };
  if (sent.messages.length) {
    buried = null;
    sessionStorage.setItem(CURRENT, sent.id);
    if (sent.messages.length > (kept?.messages?.length ?? 0)) undo.replaceChildren(); // a question, not a vote
    if (same) bases.set(sent.id, sent.messages);
    else if (keeps) await keepCurrent();
  } else {
    sessionStorage.removeItem(CURRENT);
    if (before) await removeEmpty(sent.id);
  }
  await show();
  if (untold && !sent.messages.at(-1)?.unfinished) { // while an answer is written, the server says other things
    tell(untold, 'lt-note');
    untold = '';
  }
  if (!same) others.postMessage('changed');
}

// What there is of the answer that is being written, should the page be closed before it is whole.
async function receivePart({ id, answer }) {
  if (current?.id !== id || !current.messages.at(-1)?.unfinished) return;
  const messages = [...current.messages.slice(0, -1), { ...current.messages.at(-1), content: answer }];
  current = { ...current, messages };
  if (keeps) await keepCurrent();
}

// Where another window went on with the same conversation, what this one writes becomes a conversation of its own.
async function keepCurrent() {
  const mine = current;
  const kept = await keep(mine);
  if (current !== mine) return; // another conversation was begun meanwhile; what is left of this one comes as such
  if (kept === 'deleted') return leaveDeleted();
  if (kept !== 'forked') return JSON.stringify(kept.messages) !== JSON.stringify(current.messages) && catchUp();
  const copy = await copyOf(mine);
  if (current !== mine) return;
  current = copy;
  forks.set(mine.id, current.id);
  trigger('fork', { id: mine.id, fork: current.id });
  await keep(current);
  sessionStorage.setItem(CURRENT, current.id);
  untold = texts.lt_forked;
}

async function copyOf(one) {
  const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
  const copies = (await all()).filter(({ title }) => title === one.title).map(({ copy }) => copy ?? 1);
  return { ...one, id: bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(''), copy: 1 + Math.max(1, ...copies) };
}

function leaveDeleted() {
  buried = current.id;
  current = null;
  trigger('fresh', { deleted: true });
}

// Shows what another window made of this conversation; what is still being written there, only when asked for.
async function catchUp(unfinished = false) {
  if (buried && !current?.messages.length) return bringBack();
  const kept = keeps && current?.messages.length ? await find(current.id) : null;
  if (kept?.deleted) return leaveDeleted();
  if (!kept || JSON.stringify(kept.messages) === JSON.stringify(current.messages)) return;
  if (unfinished || !kept.messages.at(-1).unfinished) sendBack(kept, true);
}

// The other window took its deletion back, and here nothing was begun since.
async function bringBack() {
  const kept = await find(buried);
  if (!kept?.messages) return;
  buried = null;
  sendBack(kept, false);
}

// What is left of a conversation once another was opened, or this one deleted: an answer cut off, a vote.
async function receiveLeft(sent) {
  if (!keeps || !sent.messages) return;
  const kept = await find(sent.id);
  if (JSON.stringify(kept?.messages) === JSON.stringify(sent.messages)) return;
  if (!sent.messages.length) return removeEmpty(sent.id).then(show);
  const left = { ...sent, pictures: { ...kept?.pictures, ...sent.pictures }, copy: kept?.copy, used: Date.now() };
  if ((await keep(left)) === 'forked') await keep(await copyOf(left));
  await show();
  others.postMessage('changed');
}

async function reopen(id) {
  const kept = await find(id);
  if (!kept?.messages) return show();
  forks.delete(id);
  bases.set(id, kept.messages);
  sendBack(kept, false);
}

// The server takes what is kept for its own; to `refresh` not while it writes an answer, which comes here afterwards.
function sendBack({ id, messages, pictures }, refresh) {
  const whole = structuredClone(messages);
  for (const part of pictureParts(whole)) part.image_url.url = pictures[part.image_url.url] ?? '';
  trigger('reopen', { id, messages: whole, refresh });
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

// Those that two windows made of one are told apart.
const titleOf = ({ title, copy }) => (copy > 1 ? `(${copy}) ${title}` : title);

async function show() {
  const kept = keeps ? await all() : [];
  const focused = list.contains(document.activeElement) && document.activeElement.closest('li')?.dataset.id;
  list.replaceChildren(...kept.map((one) => {
    const [id, title, item] = [one.id, titleOf(one), document.createElement('li')];
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
    await bury(id);
    if (wasOpen) {
      current = null;
      trigger('fresh', { deleted: false });
    }
    await show();
    if (gone?.messages) offerUndo(gone, wasOpen);
    others.postMessage('changed');
  } else {
    closePanels();
    turn = turn.then(() => (id === current?.id ? catchUp(true) : reopen(id))).catch(console.error);
  }
});

function offerUndo(gone, wasOpen) {
  const back = button('lt-take-back', '', texts.lt_undo);
  back.addEventListener('click', async () => {
    undo.replaceChildren();
    await restore(gone);
    if (wasOpen && !current?.messages.length) await reopen(gone.id);
    await show();
    list.querySelector(`li[data-id="${gone.id}"] .lt-open`)?.focus();
    others.postMessage('changed');
  });
  const words = document.createElement('span');
  words.textContent = texts.lt_deleted.replace('{title}', titleOf(gone));
  words.title = titleOf(gone);
  undo.replaceChildren(words, back);
  back.focus();
}

// --- Begin --------------------------------------------------------------------------------------------------
const others = new BroadcastChannel('lt-conversations'); // the same list in another tab
let turn = Promise.resolve();
others.onmessage = () => { turn = turn.then(() => Promise.all([show(), catchUp()])).catch(console.error); };
watch('value', () => {
  const sent = props.value;
  if (sent?.id) turn = turn.then(() => receive(sent)).catch(console.error);
});
// A browser may bring a page back from its memory (the back button), when the server has forgotten it.
window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
opened.catch(() => { keeps = false; }).then(async () => {
  await show();
  if (keeps) forgetDeleted().catch(console.error);
  const last = sessionStorage.getItem(CURRENT);
  if (last && keeps) await reopen(last);
});
