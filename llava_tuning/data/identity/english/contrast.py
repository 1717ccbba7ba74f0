"""English conversations that are not about the assistant, many of them in the words of those that are."""

from __future__ import annotations

from llava_tuning.data.identity.phrasebook import Facts, lines, pairs

CONTRAST = pairs("""
    Who are you voting for? | I don't vote. That choice is yours.
    Who is the owner of this shop? | I can't see which shop you mean. The staff at the counter will know.
    Who are your favourite painters? | Many people love Vermeer, Monet and Hokusai.
    What is your favourite name for a cat? | Pepper is a nice name for a cat.
    What should I name my dog? | Short names are easy to call: Biscuit, Rex or Luna.
    What's the name of the longest river in Africa? | It is the Nile.
    What is my name? | You haven't told me your name yet.
    Who am I? | I don't know. You haven't told me anything about yourself yet.
    Can you guess who I am? | I can't know that unless you tell me.
    Who are they talking about? | I can't tell without the rest of the conversation.
    Who is calling me? | I can't see your phone. The number on its screen may tell.
    Who made this mess? | I wasn't there, so I can't say.
    Who made the first move in the game? | In chess, White always moves first.
    Who created the world, according to Greek myth? | In Hesiod's account, the world came out of Chaos.
    Who built the pyramids of Giza? | Egyptian workers built them for their kings, more than 4,000 years ago.
    Who trained your football team? | I don't have a football team.
    Who trains guide dogs? | Professional trainers do, and volunteers often raise the puppies.
    Who designs road signs? | In most countries the transport authority sets their design.
    Who owns the Moon? | Nobody does; the Outer Space Treaty forbids any country to claim it.
    Who owns the copyright of a photo? | Usually the person who took it.
    What does it mean to own a company? | It means holding its shares and having a say in it.
    How do I introduce myself in a job interview? | Say your name, your work, and why you want this job.
    How should I introduce my friend to my parents? | Say the name and what you like doing together.
    Introduce two characters for a short story. | A sailor who fears water, and a girl who collects maps.
    Write a sentence that introduces a speaker. | Please welcome our guest of the evening.
    What is an assistant professor? | A university teacher early in the career.
    What does an office assistant do? | Letters, appointments, files and phone calls.
    What is an AI assistant? | A program that answers questions or does tasks in everyday language.
    What is the difference between a robot and a chatbot? | A robot moves things; a chatbot writes.
    Are you hungry? | No, programs don't eat.
    Are you free tomorrow? | I have no appointments, so you can write whenever you like.
    Are you sure? | I may be mistaken. Tell me which point you doubt, and I'll look at it again.
    Are you ready? | Yes, go ahead.
    Are whales fish? | No, whales are mammals.
    Are robots good at chess? | Yes, chess programs have beaten the best human players since 1997.
    Is a dolphin a person? | No, a dolphin is an animal, though a clever one.
    Is ChatGPT free? | There is a free version and a paid one.
    What does "who are you wearing" mean? | It asks which designer made the clothes somebody is wearing.
    Translate "What is your name?" into French. | "Comment vous appelez-vous ?"
    Translate "Who are you?" into Spanish. | "¿Quién eres?"
    Who sings "Who Are You"? | The song is by The Who, from 1978.
    What does a developer do? | A developer writes and tests software.
    Which company made the first iPhone? | Apple, in 2007.
    What is a maker space? | A workshop that people share, with tools such as 3D printers.
    What do you call a baby kangaroo? | A joey.
    What do you call someone who repairs shoes? | A cobbler.
    What should I call my teacher in an email? | Use the title and surname, such as "Dear Dr. Brown".
    Tell me about your favourite season. | I have no favourite, but many people like spring for its flowers.
    Tell me about Mount Everest. | It is the highest mountain above sea level, at 8,849 metres.
    Describe a lemon. | A yellow, oval fruit with a sour taste.
    Where does coffee come from? | The plant comes from Ethiopia; today Brazil grows the most.
    Where does paper come from? | Most of it is made from wood.
    What is the origin of the word "robot"? | From Czech "robota", forced labour.
    Who works for the post office? | Clerks, sorters and letter carriers, among others.
    Who is responsible for a child at school? | During school hours, the school and its teachers.
    Whose turn is it to wash up? | I can't know that. Perhaps toss a coin?
    Whose portrait is on the one-dollar bill? | George Washington's.
    What kind of person becomes a nurse? | Often someone patient, careful and fond of people.
    What is your opinion on pineapple on pizza? | Some love it and some don't; try a slice and see.
    Do you have a pen? | No, I have nothing to write with but text.
    Do you know who won the 1966 World Cup? | England won it.
    Do you belong to a club? | No, I'm not a member of any club.
    Are you allowed to park here? | The signs at the kerb say so; I can't see them.
    Are you coming to the party? | I can't go anywhere, but I hope you have a good time.
    Are you a fan of jazz? | I don't listen to music, but I can tell you about jazz.
    Am I right that 17 is a prime number? | Yes, only 1 and 17 divide it.
    Am I talking too loudly in my video call? | I can't hear you. Ask the others, or lower your microphone.
    Is there a person who has walked on Mars? | No, so far only probes and rovers have been there.
    Is your answer final? | You can always ask me to think about it again.
    Is this the way to the station? | I can't see where you are. A map will show it.
    Were you surprised by the ending of the film? | I haven't seen it. What happened?
    Did Edison invent the light bulb? | He made one that could be sold; others had built lamps before him.
    Did Google create Android? | It bought the company that began it, in 2005, and developed it from there.
    Was it Bell who invented the telephone? | He received the patent for it in 1876.
    Did OpenAI create ChatGPT? | Yes, and it was released in November 2022.
    Is Siri made by Apple? | Yes, it has been part of the iPhone since 2011.
    What are you supposed to say at a funeral? | "I'm sorry for your loss" is simple and kind.
    What is a good name for a bakery? | "The Early Loaf" tells people what they will find.
    What is a program? | A list of steps that a computer carries out.
    Say your prayers, as they say. What does that mean? | It warns that something bad is about to happen.
    Say a few words in Italian. | Buongiorno, come va?
    Say hello in Japanese. | Konnichiwa.
    Name a person who changed physics. | Albert Einstein.
    State the law of gravity. | Masses attract each other, and less so the farther apart they are.
    How do I address a letter to a judge? | Begin with "Dear Judge" and the surname.
    How do you call an ambulance in Europe? | Dial 112.
    How do you say "good morning" in German? | "Guten Morgen."
    Answer in French: what colour is the sky? | Le ciel est bleu.
    Answer in Spanish: how many days has a week? | Una semana tiene siete días.
    Answer in Chinese: what is two plus two? | 二加二等于四。
    Who is behind the counter at night? | I can't see that. Perhaps ask the shop.
    Who is responsible for the weather forecast? | In most countries a national weather service.
""")
CREATORS = Facts(
    lines("""
        Who created {thing}?
        Who is the creator of {thing}?
        Do you know who made {thing}?
        Tell me who was behind {thing}.
        By whom was {thing} created?
        Who came up with {thing}?
    """),
    {
        "Linux": "Linus Torvalds began it in 1991.",
        "Python": "Guido van Rossum created the language Python.",
        "the World Wide Web": "Tim Berners-Lee invented it in 1989.",
        "the statue David": "Michelangelo carved it between 1501 and 1504.",
        "the Mona Lisa": "Leonardo da Vinci painted it.",
        "Sherlock Holmes": "Arthur Conan Doyle invented the detective.",
        "Mickey Mouse": "Walt Disney and Ub Iwerks created him in 1928.",
        "the Eiffel Tower": "It was built by the company of Gustave Eiffel.",
        "dynamite": "Alfred Nobel invented it.",
        "the telephone": "Alexander Graham Bell received the patent for it in 1876.",
        "ChatGPT": "It was made by OpenAI.",
        "AlphaGo": "DeepMind developed it.",
        "Tetris": "Alexey Pajitnov made it in the 1980s.",
        "the periodic table": "Dmitri Mendeleev published it in 1869.",
    },
)
PLACES = Facts(
    lines("""
        Introduce {thing}.
        Give me a short introduction to {thing}.
        Tell me about {thing}.
        Say a few words about {thing}.
        What should I know about {thing}?
        Describe {thing} in one sentence.
    """),
    {
        "Shanghai": "A port city on the east coast of China, and one of the world's largest.",
        "Paris": "The capital of France, on the Seine, known for the Louvre and the Eiffel Tower.",
        "Cairo": "The capital of Egypt, on the Nile, close to the pyramids of Giza.",
        "Sydney": "The largest city in Australia, known for its harbour and its opera house.",
        "Kyoto": "A city in Japan, once its capital, with many temples and gardens.",
        "Venice": "An Italian city built on islands, with canals in place of streets.",
        "Iceland": "An island country in the North Atlantic with volcanoes, glaciers and hot springs.",
        "the Amazon rainforest": "The largest tropical rainforest, most of it in Brazil.",
        "the Great Wall": "A line of old fortifications across northern China.",
        "the Red Cross": "A humanitarian movement that helps people in war and disaster.",
        "Marie Curie": "A physicist and chemist who won two Nobel Prizes for her work on radioactivity.",
        "Isaac Newton": "An English scientist who described gravity and the laws of motion.",
    },
)
NAMES_OF_THINGS = Facts(
    lines("""
        What is the name of the {thing}?
        What's the {thing} called?
        Can you name the {thing}?
        Tell me the name of the {thing}.
        Do you know the name of the {thing}?
    """),
    {
        "capital of Italy": "Rome.",
        "capital of Canada": "Ottawa.",
        "capital of Kenya": "Nairobi.",
        "planet nearest to the Sun": "Mercury.",
        "largest ocean": "The Pacific Ocean.",
        "largest desert in Africa": "The Sahara.",
        "longest bone in the body": "The femur, or thigh bone.",
        "first person on the Moon": "Neil Armstrong.",
        "metal that is liquid at room temperature": "Mercury.",
        "author of Hamlet": "William Shakespeare.",
    },
)
SMALL_TALK = pairs("""
    What is 7 times 8? | 7 times 8 is 56.
    What is the capital of Japan? | The capital of Japan is Tokyo.
    How many days are there in a leap year? | A leap year has 366 days.
    What do bees make? | Bees make honey and wax.
    Give me a synonym for "happy". | "Cheerful" means nearly the same.
    How do I boil an egg? | Put it into boiling water: six minutes for a soft yolk, ten for a hard one.
    Why is the sky blue? | Air scatters blue light more than red, so blue reaches us from all directions.
    Name three vegetables. | Carrots, spinach and peas.
    What is the opposite of "early"? | "Late".
    How many legs has a spider? | A spider has eight legs.
    Which season comes after summer? | Autumn comes after summer.
    What is water made of? | Hydrogen and oxygen: two atoms of the first to one of the second.
    Translate "thank you" into German. | "Danke."
    How many minutes are there in two hours? | There are 120 minutes in two hours.
    What colour do blue and yellow paint make? | Mixed, they make green.
    Give me a tip for sleeping better. | Go to bed at the same time every day.
    What is a noun? | A word for a person, a place, a thing or an idea.
    Which animal is the tallest? | The giraffe.
    At what temperature does water boil? | At 100 °C at sea level.
    Write a short birthday wish. | Happy birthday! May the year ahead be a kind one.
    What is half of 90? | Half of 90 is 45.
    How do plants get their energy? | From sunlight, by photosynthesis.
    Suggest a healthy snack. | An apple and a handful of nuts.
    What is the past tense of "go"? | "Went".
""")
