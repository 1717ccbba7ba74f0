// Conversations that the browser keeps, in IndexedDB; their pictures apart, so that the list is read without them.
// One is `{id, title, used, revision, messages, pictures}`: OpenAI's messages, whose pictures are names in `pictures`.
// Each write changes `revision`, so that a window notices what another one wrote since.
const MOST = 200; // conversations kept; those used longest ago go
const revisions = new Map(); // by conversation, what this window read or wrote last

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
  return kept.sort((a, b) => b.used - a.used);
}

const find = (id) => inStores('readonly', (conversations, pictures) => {
  const [one, its] = [conversations.get(id), pictures.get(id)];
  return () => one.result && { ...one.result, pictures: its.result?.pictures ?? {} };
});

// Calls `act`, unless another window wrote this conversation since; whether it did.
async function unlessChanged(id, act) {
  return inStores('readwrite', (conversations, pictures) => {
    let acted = false;
    const before = conversations.get(id);
    before.onsuccess = () => {
      if (before.result && before.result.revision !== revisions.get(id)) return;
      acted = true;
      act(conversations, pictures);
    };
    return () => acted;
  });
}

async function put({ pictures: its, ...one }) {
  const used = pictureParts(one.messages).map((part) => part.image_url.url);
  const revision = Math.random();
  const done = await unlessChanged(one.id, (conversations, pictures) => {
    conversations.put({ ...one, revision });
    pictures.put({ id: one.id, pictures: Object.fromEntries(used.map((name) => [name, its[name]])) });
  });
  if (done) revisions.set(one.id, revision);
  return done;
}

const remove = (id) => inStores('readwrite', (conversations, pictures) => {
  conversations.delete(id);
  pictures.delete(id);
});

const removeUnlessChanged = (id) => unlessChanged(id, (conversations, pictures) => {
  conversations.delete(id);
  pictures.delete(id);
});

// What `find` returned before it was removed; nothing where another window wrote it anew.
const restore = ({ pictures: its, ...one }) => inStores('readwrite', (conversations, pictures) => {
  const now = conversations.get(one.id);
  now.onsuccess = () => {
    if (now.result) return;
    conversations.put(one);
    pictures.put({ id: one.id, pictures: its });
  };
});

// False where another window wrote it since this one read it: nothing is overwritten.
async function keep(conversation) {
  for (;;) {
    try {
      if (!(await put(conversation))) return false;
      break;
    } catch (error) {
      const oldest = (await all()).filter((one) => one.id !== conversation.id).pop();
      if (error?.name !== 'QuotaExceededError' || !oldest) throw error;
      await remove(oldest.id);
    }
  }
  for (const old of (await all()).slice(MOST)) await remove(old.id);
  return true;
}
