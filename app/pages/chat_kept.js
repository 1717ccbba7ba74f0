// Conversations that the browser keeps, in IndexedDB; their pictures apart, so that the list is read without them.
// One is `{id, title, copy, used, messages, pictures}`: OpenAI's messages, whose pictures are names in `pictures`; `copy`
// counts those that two windows made of one. Of one that was deleted `{id, deleted}` stays for a day, so that no other
// window brings it back.
const MOST = 200; // conversations kept; those used longest ago go
const DAY_MS = 86_400_000;
const bases = new Map(); // by conversation, the messages that this window's server and the browser last agreed on

const pictureParts = (messages) =>
  messages.flatMap((message) => (Array.isArray(message.content) ? message.content : []))
    .filter((part) => part.type === 'image_url');

const opened = new Promise((resolve, reject) => {
  const request = indexedDB.open('llava-tuning', 1);
  request.onupgradeneeded = () => {
    for (const name of ['conversations', 'pictures']) request.result.createObjectStore(name, { keyPath: 'id' });
  };
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

// `act` gets both stores and returns what gives the result, once all it asked for is done.
async function inStores(mode, act) {
  const transaction = (await opened).transaction(['conversations', 'pictures'], mode);
  const result = act(transaction.objectStore('conversations'), transaction.objectStore('pictures'));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(result?.());
    transaction.onabort = () => reject(transaction.error);
  });
}

async function all() {
  const kept = await inStores('readonly', (conversations) => {
    const request = conversations.getAll();
    return () => request.result;
  });
  return kept.filter((one) => !one.deleted).sort((a, b) => b.used - a.used);
}

// With its pictures; of one that was deleted `{id, deleted}`.
const find = (id) => inStores('readonly', (conversations, pictures) => {
  const [one, its] = [conversations.get(id), pictures.get(id)];
  return () => one.result && { ...one.result, pictures: its.result?.pictures ?? {} };
});

// A conversation's words, without the votes on them.
const said = (messages) => JSON.stringify(messages.map(({ vote, ...message }) => message));

// Two windows' versions of a conversation as one, `base` being what both came from: the one that went on, with the votes
// of both. Null where both went on.
function merge(base, mine, theirs) {
  const newer = [said(base), said(mine.messages)].includes(said(theirs.messages)) ? mine : theirs;
  if (newer === theirs && said(mine.messages) !== said(base)) return null;
  const messages = newer.messages.map((message, number) => {
    const [here, there] = [mine.messages[number], theirs.messages[number]];
    if (!here || !there || said([here]) !== said([there])) return message;
    const { vote, ...rest } = message;
    const merged = here.vote !== base[number]?.vote ? here.vote : there.vote;
    return merged ? { ...rest, vote: merged } : rest;
  });
  return { ...newer, messages };
}

// Resolves to what is kept now, `'deleted'` where that was done to it, `'forked'` where another window went on with it.
async function put({ pictures: its, ...one }) {
  const result = await inStores('readwrite', (conversations, pictures) => {
    let written;
    const [before, drawn] = [conversations.get(one.id), pictures.get(one.id)];
    drawn.onsuccess = () => {
      const theirs = before.result;
      written = theirs?.deleted ? 'deleted' : theirs ? merge(bases.get(one.id) ?? [], one, theirs) ?? 'forked' : one;
      if (typeof written === 'string') return;
      const [known, used] = [{ ...drawn.result?.pictures, ...its }, pictureParts(written.messages)];
      conversations.put(written);
      pictures.put({
        id: one.id, pictures: Object.fromEntries(used.map((part) => [part.image_url.url, known[part.image_url.url]])),
      });
    };
    return () => written;
  });
  if (typeof result !== 'string') bases.set(one.id, one.messages);
  return result;
}

const remove = (id) => inStores('readwrite', (conversations, pictures) => {
  conversations.delete(id);
  pictures.delete(id);
});

// As a visitor wants it, not to make room.
const bury = (id) => inStores('readwrite', (conversations, pictures) => {
  conversations.put({ id, deleted: Date.now() });
  pictures.delete(id);
});

// A conversation without a question, unless another window went on with it.
const removeEmpty = (id) => inStores('readwrite', (conversations, pictures) => {
  const before = conversations.get(id);
  before.onsuccess = () => {
    if (!before.result?.messages || said(before.result.messages) !== said(bases.get(id) ?? [])) return;
    conversations.delete(id);
    pictures.delete(id);
  };
});

// What `find` returned before it was buried.
const restore = ({ pictures: its, ...one }) => inStores('readwrite', (conversations, pictures) => {
  conversations.put(one);
  pictures.put({ id: one.id, pictures: its });
});

// As `put`; those used longest ago make room.
async function keep(conversation) {
  let kept;
  for (;;) {
    try {
      kept = await put(conversation);
      break;
    } catch (error) {
      const oldest = (await all()).filter((one) => one.id !== conversation.id).pop();
      if (error?.name !== 'QuotaExceededError' || !oldest) throw error;
      await remove(oldest.id);
    }
  }
  for (const old of (await all()).slice(MOST)) await remove(old.id);
  return kept;
}

const forgetDeleted = () => inStores('readwrite', (conversations) => {
  const request = conversations.openCursor();
  request.onsuccess = () => {
    const cursor = request.result;
    if (cursor?.value.deleted < Date.now() - DAY_MS) cursor.delete();
    cursor?.continue();
  };
});
