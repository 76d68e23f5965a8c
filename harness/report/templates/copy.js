// Copy a block of text. Without this script, or where the browser refuses, it is there to be selected.
(() => {
  document.querySelectorAll("button.copy").forEach((button) => {
    const block = document.getElementById(button.dataset.copies);
    if (!block) return;
    const words = button.textContent;
    const tell = (answer) => {
      button.textContent = answer;
      setTimeout(() => { button.textContent = words; }, 1600);
    };
    const select = () => {
      const range = document.createRange();
      range.selectNodeContents(block);
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      tell("Selected");
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      if (!navigator.clipboard) return select();
      navigator.clipboard.writeText(block.textContent).then(() => tell("Copied"), select);
    });
  });
})();
