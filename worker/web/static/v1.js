/* Stockbell: "tell me when it is back" in a shop's page. How to use it: docs/widget.md.
   It needs no other script, sets no cookie, and asks the server nothing before somebody signs up. */
(() => {
  const script = document.currentScript || document.querySelector('script[data-key]');
  const home = new URL('.', script.src).href;
  const TAG = 'stockbell-notify';
  const PAUSE = 2000; // Programs fill in a form at once. People are not kept waiting: they need longer.

  const NAMES = 'title label button consent privacy invalid failed busy thanks confirm known again'.split(' ');
  const WORDS = {
    en: ['Tell me when it is back', 'Email address', 'Notify me',
      'One email about this item. No newsletter.', 'Privacy',
      'Please enter an email address, such as name@example.com.',
      'That did not work. Please try again later.',
      'Too many sign-ups. Please try again later.',
      'Thank you.', 'If you get an email from us now, please confirm in it that you want this.',
      'We will email you when it is back.', 'Not you?'],
    de: ['Bescheid geben, wenn es wieder da ist', 'E-Mail-Adresse', 'Benachrichtigen',
      'Eine E-Mail zu diesem Artikel. Kein Newsletter.', 'Datenschutz',
      'Bitte geben Sie eine E-Mail-Adresse ein, etwa name@example.com.',
      'Das hat nicht geklappt. Bitte später noch einmal versuchen.',
      'Zu viele Anmeldungen. Bitte später noch einmal versuchen.',
      'Vielen Dank.', 'Falls Sie jetzt eine E-Mail von uns erhalten, bestätigen Sie bitte darin.',
      'Wir schreiben Ihnen, wenn es wieder da ist.', 'Nicht Sie?'],
    fr: ['M’avertir du retour en stock', 'Adresse e-mail', 'M’avertir',
      'Un e-mail sur cet article. Pas de newsletter.', 'Confidentialité',
      'Veuillez saisir une adresse e-mail, comme nom@example.com.',
      'L’inscription a échoué. Veuillez réessayer plus tard.',
      'Trop d’inscriptions. Veuillez réessayer plus tard.',
      'Merci.', 'Si vous recevez maintenant un e-mail de notre part, veuillez y confirmer.',
      'Nous vous écrirons dès le retour en stock.', 'Ce n’est pas vous ?'],
    es: ['Avisarme cuando vuelva', 'Correo electrónico', 'Avisarme',
      'Un correo sobre este artículo. Sin boletín.', 'Privacidad',
      'Introduzca un correo electrónico, como nombre@example.com.',
      'No ha funcionado. Inténtelo más tarde.',
      'Demasiadas solicitudes. Inténtelo más tarde.',
      'Gracias.', 'Si ahora recibe un correo nuestro, confirme en él su solicitud.',
      'Le escribiremos cuando vuelva.', '¿No es usted?'],
    ja: ['再入荷のお知らせ', 'メールアドレス', '登録する',
      'この商品のメールを1通だけ送ります。メルマガではありません。', 'プライバシー',
      'メールアドレスを入力してください（例：name@example.com）。',
      '登録できませんでした。後でもう一度お試しください。',
      '登録が多すぎます。後でもう一度お試しください。',
      'ありがとうございます。', '確認メールが届いたら、登録を確定してください。',
      '再入荷したらメールでお知らせします。', '別の方ですか？'],
  };

  const make = (tag, values, ...children) => {
    const made = document.createElement(tag);
    for (const name in values) made.setAttribute(name, values[name]);
    made.append(...children);
    return made;
  };
  const isSet = (value) => value != null && value !== 'false';
  const all = () => document.querySelectorAll(TAG);

  // A page may forbid storage. Then nothing is remembered.
  const stored = (work) => {
    try {
      return work(localStorage);
    } catch {
      return null;
    }
  };

  let count = 0;

  class Notify extends HTMLElement {
    static observedAttributes = ['item', 'options', 'in-stock'];

    connectedCallback() {
      // A script that is not deferred runs before the form inside is read.
      if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', () => this.begin());
      else this.begin();
    }

    attributeChangedCallback() {
      if (this.form) this.update();
    }

    begin() {
      if (!this.form) this.build();
      this.update();
    }

    /* The language of the page, or of the part of it that this is in. */
    get locale() {
      return this.closest('[lang]')?.lang || navigator.language || 'en';
    }

    say(name) {
      const words = WORDS[this.locale.slice(0, 2).toLowerCase()] || WORDS.en;
      return this.getAttribute('text-' + name) ?? words[NAMES.indexOf(name)];
    }

    /* Keeps a form that is inside, for visitors without JavaScript, and adds what it lacks. */
    build() {
      const id = 'stockbell-' + ++count;
      const form = this.form = this.querySelector('form') || this.appendChild(this.newForm(id));
      form.classList.add('stockbell-form');
      form.noValidate = true; // The browser's own bubbles go away, and are not in the page's language.
      this.field = form.querySelector('[type=email]');
      this.button = form.querySelector('button, [type=submit]');
      this.error = make('p', { class: 'stockbell-error', id: id + '-error' });
      (this.field.closest('.stockbell-row') || this.field).after(this.error);
      if (!form.querySelector('.stockbell-note')) form.append(this.newNote(id));
      form.append(make('div', { hidden: '' }, make('input', { name: 'website', tabindex: -1, autocomplete: 'off' })));
      this.field.setAttribute('aria-describedby', [this.error.id, form.querySelector('.stockbell-note').id].join(' ').trim());
      form.addEventListener('submit', (event) => this.submit(event));
      // Readers announce what changes inside a status that was there before.
      this.status = this.appendChild(make('p', { class: 'stockbell-status', role: 'status' }));
      this.again = this.appendChild(make('button', { class: 'stockbell-again', type: 'button', hidden: '' }, this.say('again')));
      this.again.addEventListener('click', () => {
        this.show();
        this.field.focus();
      });
      this.born = Date.now();
    }

    newForm(id) {
      return make('form', { action: home + 'subscribe', method: 'post' },
        make('p', { class: 'stockbell-title' }, this.say('title')),
        make('label', { for: id }, this.say('label')),
        make('div', { class: 'stockbell-row' },
          make('input', { id, name: 'email', type: 'email', autocomplete: 'email', inputmode: 'email', required: '', dir: 'auto' }),
          make('button', { type: 'submit' }, this.say('button'))));
    }

    newNote(id) {
      const note = make('p', { class: 'stockbell-note', id: id + '-note' }, this.say('consent'));
      const privacy = this.getAttribute('privacy');
      if (privacy) note.append(' ', make('a', { href: privacy }, this.say('privacy')));
      return note;
    }

    /* What the customer has chosen: the item and its options, and whether that is in stock. */
    look() {
      const options = JSON.parse(this.getAttribute('options')) || {};
      let inStock = this.getAttribute('in-stock');
      const from = this.getAttribute('variant-from');
      for (const each of from ? document.querySelectorAll(from) : []) {
        if (each.value) options[each.dataset.option || each.name] = each.value;
        inStock = (each.selectedOptions?.[0] || each).dataset.inStock ?? inStock;
      }
      const item = this.getAttribute('item') || this.form.elements.namedItem('item')?.value || '';
      return { item, options, inStock: isSet(inStock) };
    }

    update() {
      const { item, options, inStock } = this.look();
      const place = 'stockbell:' + JSON.stringify([item, Object.entries(options).sort()]);
      if (inStock) stored((storage) => storage.removeItem(place));
      this.hidden = inStock || !item;
      if (place === this.place && !inStock) return;
      this.place = place;
      this.refuse('');
      this.show(...(stored((storage) => storage.getItem(place)) ? ['known'] : []));
    }

    /* Shows the form, or in its place what became of it. */
    show(...names) {
      this.form.hidden = names.length > 0;
      this.again.hidden = !this.form.hidden;
      this.status.textContent = names.map((name) => this.say(name)).join(' ');
    }

    refuse(name) {
      this.error.textContent = name && this.say(name);
      this.field.setAttribute('aria-invalid', name === 'invalid');
      if (name) this.field.focus();
    }

    data({ item, options }) {
      const data = new URLSearchParams(new FormData(this.form));
      const own = {
        key: script.dataset.key,
        item,
        appId: this.getAttribute('app-id'),
        locale: this.locale,
        itemUrl: this.getAttribute('item-url') || document.querySelector('link[rel=canonical]')?.href || location.href.split('#')[0],
        consent: this.getAttribute('consent-version') || 'v1',
      };
      for (const name in own) if (own[name]) data.set(name, own[name]);
      for (const name in options) data.set('option.' + name, options[name]);
      return data;
    }

    async submit(event) {
      event.preventDefault();
      if (isSet(this.button.getAttribute('aria-disabled'))) return;
      this.field.value = this.field.value.trim();
      if (!/^\S+@\S+\.\S+$/.test(this.field.value)) return this.refuse('invalid');
      this.refuse('');
      this.button.setAttribute('aria-disabled', true);
      const chosen = this.look();
      const place = this.place;
      const said = await this.send(this.data(chosen));
      this.button.setAttribute('aria-disabled', false);
      if (said !== 'known' && said !== 'confirm') return this.refuse(said);
      stored((storage) => storage.setItem(place, Date.now()));
      this.dispatchEvent(new CustomEvent('stockbell:subscribed', { bubbles: true, detail: { item: chosen.item, options: chosen.options } }));
      if (place !== this.place) return; // Another variant was chosen meanwhile.
      this.form.reset();
      this.show('thanks', said);
      this.again.focus(); // The button that had the focus is gone.
    }

    /* A form and a header that need no question before (CORS): one round trip. Returns the name of what to say. */
    async send(body) {
      try {
        await new Promise((go) => setTimeout(go, this.born + PAUSE - Date.now()));
        const reply = await fetch(home + 'subscribe', { method: 'POST', body, headers: { Accept: 'application/json' }, credentials: 'omit' });
        if (reply.status === 429) return 'busy';
        const said = await reply.json();
        if (reply.ok) return said.mustConfirm ? 'confirm' : 'known';
        console.error(TAG + ':', said);
        return said.details?.validationError?.fieldViolations?.some((each) => each.field === 'email') ? 'invalid' : 'failed';
      } catch {
        return 'failed';
      }
    }
  }

  window.Stockbell = {
    /* Tells what is shown now, for shops that choose variants by script: { item, options, inStock, itemUrl, appId }. */
    set(values) {
      for (const each of all()) {
        for (const name in values) {
          const value = values[name];
          each.setAttribute(name.replace(/[A-Z]/g, '-$&').toLowerCase(), typeof value === 'object' ? JSON.stringify(value) : value);
        }
      }
    },
  };

  if (script.dataset.css !== 'off') {
    document.head.append(make('link', { rel: 'stylesheet', href: home + 'v1.css' }));
  }
  document.addEventListener('change', () => all().forEach((each) => each.form && each.update()));
  if (!customElements.get(TAG)) customElements.define(TAG, Notify);
})();
