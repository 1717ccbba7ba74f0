// The chat around its messages: the panels of a phone, the exact text of messages for copying and editing, what only
// the browser can tell, and words that the server does not put into HTML. Runs after `chat.js`, in its scope.
// --- Panels: beside the conversation on a desk, over it on a phone -------------------------------------------
const page = element.closest('.lt-chat-page');

function closePanels() {
  const open = page.querySelector('.lt-panel.lt-shown');
  open?.classList.remove('lt-shown');
  if (open) page.querySelector(`[data-panel="${open.id}"]`)?.focus();
}

function focusWithin(panel) { // as soon as it is visible, which takes a frame or two
  const close = panel.querySelector('.lt-close');
  close.focus();
  if (document.activeElement !== close && panel.matches('.lt-shown')) requestAnimationFrame(() => focusWithin(panel));
}

page.addEventListener('click', (event) => {
  const opener = event.target.closest('[data-panel]');
  if (opener) {
    const panel = document.getElementById(opener.dataset.panel);
    panel.classList.add('lt-shown');
    focusWithin(panel);
  } else if (event.target.closest('.lt-close, .lt-fresh') || event.target.matches('.lt-panel.lt-shown')) {
    closePanels();
  }
  if (event.target.closest('.lt-fresh')) {
    current = null;
    trigger('fresh', { deleted: false });
  }
});
page.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') closePanels();
});

// --- Where an answer looked -----------------------------------------------------------------------------------
page.addEventListener('click', (event) => {
  const row = event.target.closest('.lt-look')?.closest('.message-row');
  if (row) trigger('look', { number: [...page.querySelectorAll('.bot-row')].indexOf(row) });
});

// --- Exact texts --------------------------------------------------------------------------------------------
// The chatbot component shows Markdown; what is copied or edited is what was typed or written.
function textOf(row) {
  const role = row.classList.contains('user-row') ? 'user' : 'assistant';
  const number = [...page.querySelectorAll(`.${role === 'user' ? 'user' : 'bot'}-row`)].indexOf(row);
  const content = current?.messages.filter((message) => message.role === role)[number]?.content;
  return Array.isArray(content) ? content.find((part) => part.type === 'text')?.text : content;
}

function prefill(changes) {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    const field = node.matches?.('.edit-textarea') ? node : node.querySelector?.('.edit-textarea');
    const text = field && textOf(field.closest('.message-row'));
    if (text === undefined || text === null) continue;
    field.value = text;
    field.setAttribute('aria-label', texts.lt_question);
    field.dispatchEvent(new Event('input', { bubbles: true }));
    field.focus();
  }
}

let touched = null; // the row whose buttons were used last
page.addEventListener('click', (event) => {
  const buttons = event.target.closest('.message-buttons');
  if (buttons) touched = buttons.previousElementSibling;
}, true);

window.ltChat = {
  copyExact() {
    const text = touched?.matches('.message-row') && textOf(touched);
    if (text) navigator.clipboard?.writeText(text);
  },
  save(file) {
    if (!file) { // a phone's panel would lie over what is told
      closePanels();
      return tell(texts.lt_nothing_to_save, 'lt-note');
    }
    const json = file.type === 'json';
    const text = json ? JSON.stringify(file.content, null, 2) : file.text;
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type: json ? 'application/json' : 'text/markdown' }));
    link.download = `conversation.${json ? 'json' : 'md'}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  },
};

// --- What only the browser can tell -------------------------------------------------------------------------
let told = null; // which the server does not know of, so it is taken away here

function tell(text, kind = 'lt-problem') {
  told = document.createElement('p');
  told.className = kind;
  told.setAttribute('role', kind === 'lt-problem' ? 'alert' : 'status');
  told.textContent = text;
  page.querySelector('#lt-status .html-container > *').replaceChildren(told);
}

function tellIfOffline() {
  const old = told;
  fetch('live').then(() => old?.remove(), () => tell(texts.lt_offline));
}

page.addEventListener('click', (event) => {
  if (event.target.closest('.submit-button, .message-buttons, #lt-cards')) tellIfOffline();
});
page.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && event.target.closest('#lt-box')) tellIfOffline();
});

// Before Gradio, which would say it in English only.
function refuseLargeFiles(event) {
  const files = event.target.files ?? event.dataTransfer?.files ?? event.clipboardData?.files ?? [];
  const large = [...files].find((file) => file.size > props.max_mb * 2 ** 20);
  if (!large || !event.target.closest('#lt-box')) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (event.target.files) event.target.value = '';
  tell(texts.lt_file_too_large.replace('{name}', large.name).replace('{limit}', props.max_mb));
}

for (const kind of ['change', 'drop', 'paste']) page.addEventListener(kind, refuseLargeFiles, true);

// --- Words, which the server does not put into HTML ----------------------------------------------------------
function label() {
  // Gradio's label reads out the message's Markdown and HTML; without it, the message itself is read.
  for (const message of page.querySelectorAll('#lt-chat [data-testid][aria-label]')) message.removeAttribute('aria-label');
  for (const labelled of page.querySelectorAll('[data-label]:not([aria-label])')) {
    labelled.setAttribute('aria-label', texts[labelled.dataset.label]);
    labelled.title = texts[labelled.dataset.label];
  }
  for (const worded of page.querySelectorAll('[data-text]:empty')) worded.textContent = texts[worded.dataset.text];
  // Gradio's camera speaks English only.
  const camera = page.querySelector('#lt-camera');
  camera?.querySelector('[aria-label="capture photo"]')?.setAttribute('aria-label', texts.lt_capture);
  const words = camera && document.createTreeWalker(camera, NodeFilter.SHOW_TEXT);
  while (words?.nextNode()) {
    const node = words.currentNode;
    if (node.nodeValue.trim() === 'Click to Access Webcam') node.nodeValue = texts.lt_open_camera;
  }
  const photo = page.querySelector('#lt-photo');
  if (photo && !navigator.mediaDevices) photo.style.display = 'none'; // plain http from afar
}

new MutationObserver((changes) => { label(); prefill(changes); }).observe(page, { childList: true, subtree: true });
label();
