// Calls the journal object, and answers with its status.
export default {
  async fetch(request, env) {
    const object = env.JOURNAL.get(env.JOURNAL.idFromName("journal"));
    const answer = await object.fetch("https://journal/snapshot?window=1");
    return new Response(null, { status: answer.status });
  },
};
