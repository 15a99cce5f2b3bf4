"""Given names common enough to tell a person by, and words that show that a name is no person's."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PLAIN: Final = _words(
    """
    Aaliyah Aaron Abdul Abdullah Abigail Abraham Ada Adam Adele Adrian Adriana Adrienne Agatha Agnes
    Ahmad Ahmed Aidan Aiden Aisha Alan Alana Albert Alberto Alejandra Alejandro Alena Alessandra
    Alessandro Alex Alexa Alexander Alexandra Alexandre Alexandria Alexei Alexis Alfonso Alfred Alfredo
    Ali Alice Alicia Alina Alisa Alison Allan Allen Allie Allison Alma Alvin Alyssa Amanda Amelia Amina
    Amir Amit Amy Ana Anastasia Anders Andre Andrea Andreas Andrei Andres Andrew Andy Angela Angelica
    Angelina Angelo Angie Anika Anil Anita Anjali Ann Anna Anne Annette Annie Anthony Antoine Anton
    Antonia Antonio Anya April Ariana Ariel Arjun Arlene Armando Arnold Arthur Arturo Asher Ashley Ashok
    Astrid Audrey Aurelia Aurora Ava Avery Ayesha Barbara Barry Beatrice Becky Belinda Ben Benjamin
    Bernadette Bernard Bernice Beth Bethany Betty Beverly Bianca Bill Billy Blaine Blake Bobby Bonnie
    Boris Brad Bradley Brandi Brandon Brandy Brenda Brendan Brent Brett Brian Brianna Bridget Brittany
    Brooke Bruce Bruno Bryan Bryce Byron Caitlin Caleb Callie Calvin Cameron Camila Camille Candace
    Candice Carina Carl Carla Carlos Carlton Carmen Carol Carole Caroline Carolyn Carrie Carson Carter
    Casey Cassandra Cassie Catalina Catherine Cathy Cecelia Cecil Cecilia Cedric Celeste Celia Cesar
    Chad Chandra Charlene Charles Charlie Charlotte Chelsea Cheryl Chris Christian Christina Christine
    Christoph Christopher Christy Cindy Clair Claire Clara Clarence Clark Claude Claudia Clayton
    Clifford Clinton Clyde Cody Colin Colleen Connie Connor Conrad Constance Cora Corey Cornelius
    Courtney Craig Cristina Crystal Curtis Cynthia Daisy Damian Damon Dan Dana Daniel Daniela Danielle
    Danny Daphne Darlene Darnell Darrell Darren Darryl Daryl Dave David Dawson Dean Deanna Debbie
    Deborah Debra Declan Deepak Deirdre Delia Della Delores Dennis Derek Derrick Desiree Desmond Devon
    Diana Diane Dianne Diego Dimitri Dmitri Dolores Dominic Dominique Don Donald Donna Doreen Doris
    Dorothy Doug Douglas Duncan Dustin Dwayne Dwight Dylan Earl Ebony Eddie Edgar Edith Edmund Eduardo
    Edward Edwin Eileen Elaine Eleanor Elena Eli Eliana Elias Elijah Elisa Elisabeth Elise Eliza
    Elizabeth Ella Ellen Ellie Elliot Elliott Elmer Elsa Elsie Elvira Emanuel Emil Emilia Emilie Emilio
    Emily Emma Emmanuel Enrique Eric Erica Erich Erik Erika Erin Ernest Ernesto Esmeralda Esteban
    Estelle Esther Ethan Ethel Eugene Eunice Eva Evan Evelyn Fabian Farah Fatima Felicia Felix Fernando
    Finn Fiona Florence Floyd Frances Francesca Francesco Francis Francisco Franklin Fred Freddie
    Frederick Frida Gabriel Gabriela Gabriella Gabrielle Gail Gareth Garrett Gary Gavin Genevieve
    Geoffrey George Georgina Gerald Geraldine Gerard Gertrude Gianna Gilbert Gina Giovanni Gisele Giulia
    Gladys Glen Glenda Glenn Gloria Gordon Greg Gregg Gregory Greta Gretchen Guadalupe Guillermo Gustavo
    Guy Gwen Gwendolyn Hailey Hannah Hans Harold Harriet Harrison Harry Harvey Hassan Hazel Heather
    Hector Heidi Heinrich Helen Helena Helene Helga Henrietta Henry Herbert Herman Hilary Hilda Holly
    Howard Hubert Hugh Hugo Ian Ibrahim Ida Ignacio Igor Imani Ines Ingrid Irene Iris Irma Isaac Isabel
    Isabella Isabelle Isaiah Ismael Israel Ivan Ivy Jack Jackie Jackson Jacob Jacqueline Jacques Jada
    Jaime Jake Jamal James Jamie Jan Jana Jane Janelle Janet Janice Jared Jasmin Jasmine Jason Javier
    Jay Jayden Jean Jeanette Jeanne Jeff Jeffery Jeffrey Jenna Jennie Jennifer Jenny Jeremiah Jeremy
    Jermaine Jerome Jerry Jesse Jessica Jessie Jill Jim Jimmy Jo Joan Joann Joanna Joanne Jocelyn Jodi
    Jody Joe Joel Johan Johann Johanna John Johnnie Johnny Jon Jonah Jonas Jonathan Jorge Jose Josef
    Josefina Joseph Josephine Josh Joshua Josie Joyce Juan Juana Juanita Judith Judy Julia Julian
    Juliana Julie Juliet Julio Julius Justin Kaitlyn Kara Karen Karim Karin Karl Karla Kate Katelyn
    Katharina Katherine Kathleen Kathryn Kathy Katie Katrina Kay Kayla Keith Kelley Kelly Kelsey Kelvin
    Ken Kendra Kenneth Kerry Kevin Khalid Khalil Kiara Kim Kimberly Kirk Klaus Kofi Krista Kristen
    Kristin Kristina Kristine Kristy Kumar Kurt Kyle Kylie Lana Lara Larry Latoya Laura Lauren Laurie
    Lawrence Layla Leah Leila Lena Leo Leon Leona Leonard Leonardo Leroy Leslie Lester Leticia Levi
    Lewis Liam Lila Lilian Lillian Linda Lindsay Lindsey Lisa Liu Liz Lloyd Lois Lola Lonnie Lora Lorena
    Lorenzo Loretta Lori Lorraine Louis Louise Luca Lucas Lucia Lucille Lucy Luigi Luis Luisa Lukas Luke
    Lydia Lynette Lynn Mabel Mackenzie Madeline Madison Maggie Makayla Malcolm Malik Mandy Manuel
    Manuela Marc Marcel Marcia Marco Marcos Marcus Margaret Margarita Margie Maria Mariah Mariana
    Marianne Marie Marilyn Marina Mario Marion Marisa Marisol Marissa Marjorie Marlene Marlon Marsha
    Marshall Marta Martha Martin Martina Marvin Mary Mateo Matilda Matt Matteo Matthew Matthias Maureen
    Maurice Mauricio Max Maxine Maxwell Maya Megan Mehmet Mei Melanie Melinda Melissa Melody Melvin
    Mercedes Meredith Mia Michael Michaela Micheal Michele Michelle Miguel Mikael Mike Mila Mildred
    Milena Milton Mina Mindy Minerva Miranda Miriam Mitchell Mohamed Mohammad Mohammed Moira Molly Mona
    Monica Monique Morris Moses Muhammad Muriel Myra Myrtle Nadia Nadine Nancy Naomi Natalia Natalie
    Natasha Nathan Nathaniel Neil Nellie Nelson Nicholas Nick Nicola Nicolas Nicole Nikhil Nikita
    Nikolai Nina Noah Noel Noelle Nora Norma Norman Olga Oliver Olivia Omar Oscar Otto Owen Pablo Paige
    Pamela Paola Patricia Patrick Patti Paul Paula Paulette Pauline Pavel Pedro Peggy Penelope Penny
    Percy Pete Peter Petra Phil Philip Philippe Phillip Phoebe Phyllis Pierre Polly Preeti Preston
    Priscilla Priya Quentin Quincy Rachael Rachel Rafael Rahul Raj Rajesh Ralph Ramon Ramona Randall
    Randy Raquel Raul Ravi Raymond Rebecca Regina Reginald Rekha Rene Renee Rhonda Ricardo Richard Rick
    Ricky Riley Rita Rob Robert Roberta Roberto Robin Robyn Rochelle Roderick Rodney Rodrigo Roger
    Roland Rolf Roman Ron Ronald Ronnie Rosa Rosalie Rosalind Rosemary Rosie Ross Roxanne Roy Ruben
    Rudolph Rudy Rufus Russell Ruth Ryan Sabrina Sadie Sally Salvador Sam Samantha Sami Samir Samuel
    Sandra Sandy Sanjay Sara Sarah Sasha Saul Savannah Scott Sean Sebastian Selena Serena Sergei Sergio
    Seth Shane Shannon Sharon Shaun Shawn Sheila Shelby Sheldon Shelley Shenna Sherri Sherry Shirley
    Sidney Silvia Simon Simone Sofia Sonia Sonja Sonya Sophia Sophie Spencer Stacey Stacy Stanley Stefan
    Stella Stephan Stephanie Stephen Steve Steven Stuart Sue Sunil Susan Susanne Suzanne Sven Svetlana
    Sylvia Tabitha Tamara Tami Tammy Tania Tanya Tara Tariq Tasha Tatiana Taylor Ted Terence Teresa Teri
    Terrance Terrence Terri Terry Thelma Theo Theodore Theresa Thiago Thomas Tiffany Tim Timmy Timothy
    Tina Tobias Todd Tom Tomas Tommy Toni Tony Tonya Tracey Traci Tracy Travis Trevor Tricia Trisha
    Tristan Troy Tyler Tyrone Ulrich Uma Ursula Valentina Valeria Valerie Vanessa Vera Verna Vernon
    Veronica Vicki Vickie Vicky Victoria Vijay Vikram Vincent Viola Violet Virgil Vivian Viviana
    Vladimir Wade Wallace Walter Wanda Warren Wayne Wei Wendell Wendy Wesley Whitney Wilbur Wilfred
    Wilhelm William Willie Wilma Winifred Wolfgang Xavier Yasmin Yolanda Yuki Yusuf Yvette Yvonne
    Zachary Zara Zoe Zoey
    """
)
"""Names that mean a person wherever they stand alone."""

WITH_SURNAME: Final = _words(
    """
    Alma Amber April Ariel Art Ash Asher Aurora Austin Bill Blake Bob Brook Brooke Carter Casey Chance
    Chase Chelsea Christian Clark Cliff Crystal Daisy Dale Dallas Dan Dawn Dean Devon Diamond Don Drew
    Duncan Earl Eve Faith Florence Forest Francisco Frank Gene Georgia Ginger Grace Grant Guy Harmony
    Harrison Harvey Hazel Heath Heather Holly Hope Hunter Iris Israel Ivy Jackson Jade Jan Jay Jean Jo
    Jordan Josh Joy June Kay Ken Kim Kumar Lance Lane Laurel Lee Leo Lewis Lily Liu Logan Madison Marion
    Mark Marshall Marvin Mason Max Maxwell May Melody Mercedes Miles Mitchell Morgan Nelson Nick Norma
    Olive Paige Paris Parker Pat Pearl Penny Pierce Piper Preston Quincy Ray Reed Rich Riley Rob Robin
    Roman Rose Ross Roy Ruby Rusty Sage Sandy Savannah Scott Sergei Shannon Shelby Sidney Sky Sofia
    Spencer Stanley Star Sterling Stone Sue Summer Sydney Ted Terry Thiago Tony Tyler Victor Victoria
    Violet Virginia Wade Walker Warren Wayne Whitney Wilbur Will Willow Winter Woody Zion
    """
)
"""Names that are words or places too: a person's only before a surname."""

NOT_SURNAMES: Final = _words(
    """
    Academy Account Airlines Airport Analytics And April August Avenue Bank Bay Beach Bridge Building
    Capital Car Castle Center Centre Chase Church City Club College Company Corp Corporation Council
    County Court Creek Day December Department Design Digital District Drive Energy Engineering
    Enterprises Family Fargo February Fields Financial Foods For Force Forest Foundation Friday Fund
    Gallery Gardens Global Group Hall Health Hills Holdings Hospital Hotel House In Inc Industries
    Institute International Is Island Islands January Journal July June Labs Lake Lane League Limited
    Llc Ltd Management March Market May Media Memorial Monday Mountain Museum National Network Networks
    November October Of Office Oil Or Park Partners Peak Place Plaza Point Port Properties Republic
    Resort River Road Rubber Saturday School Schools Sea September Services Shop Software Solutions
    Springs Square Stadium Station Store Street Studios Sunday Supply System Systems Team Tech
    Technologies Technology The Theatre Thursday Times To Tower Trust Tuesday Union University Valley
    Village Was Way Wednesday Williams-Sonoma World York Zealand Zone
    """
)
"""Words after a given name that make it a place, a firm or a date."""

OPENERS: Final = _words(
    """
    After Although And As Ask Assign Assist At Because Before But By Can Could Dear Did Does During
    Encourage Encouraging For From Given Has Have Hello Helping Hey Hi How If In Is It Let Like Meet
    Since So Tell Thank Thanks That The Then To Today Under Was What When Where While Will With Yes
    Yesterday Yet
    """
)
"""Words in a capital only because they open a sentence; a name may follow them."""
