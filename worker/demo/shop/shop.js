/* What a shop's own script does: it shows the chosen colour, and asks the shop what is in stock. */
const colour = document.querySelector('#colour');
const olive = colour.querySelector('[value=Olive]');
const stock = document.querySelector('#stock');
const buy = document.querySelector('#buy');
const picture = document.querySelector('#picture');

function show() {
  const isInStock = 'inStock' in colour.selectedOptions[0].dataset;
  const says = isInStock ? 'In stock' : 'Sold out';
  if (stock.textContent !== says) stock.textContent = says;
  buy.hidden = !isInStock;
  picture.src = `bag-${colour.value.toLowerCase()}.svg`;
}

async function look() {
  try {
    const { olive: isInStock } = await (await fetch('stock')).json();
    if (isInStock !== 'inStock' in olive.dataset) {
      olive.toggleAttribute('data-in-stock', isInStock);
      colour.dispatchEvent(new Event('change', { bubbles: true }));
    }
  } catch {
    clearInterval(timer); // the demo has ended
  }
}

colour.addEventListener('change', show);
const timer = setInterval(look, 1000);
