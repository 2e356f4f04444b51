// Nothing is pre-processed: Svelte itself takes the types out, and styles are plain CSS.
export default {};
